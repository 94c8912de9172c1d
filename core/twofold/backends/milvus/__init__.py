"""Passages, vectors and terms in Milvus, or in Milvus Lite (extra ``milvus``).

Milvus receives the terms of the library's analyzers, and computes BM25 from them. Its statistics
are those of a shard, or of a segment in Milvus Lite, so that scores differ from those of an index.
"""

from twofold.extras import check_extra

check_extra("milvus", "MilvusBackend", "pymilvus")

from twofold.backends.milvus.backend import MilvusBackend  # noqa: E402  # it imports pymilvus

__all__ = ["MilvusBackend"]
