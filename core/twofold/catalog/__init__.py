"""Durable storage: the catalog, its HEAD, vector files and containers of arrays."""

from twofold.catalog.catalog import Catalog, CatalogReader, CatalogWriter
from twofold.catalog.checksum import content_hash
from twofold.catalog.container import pack, unpack
from twofold.catalog.files import mapped, refuse_network, sync_folder, write_whole
from twofold.catalog.head import read_head, write_head
from twofold.catalog.lock import WriteLock
from twofold.catalog.records import (
    BlockRecord,
    PassageFields,
    SegmentRecord,
    Settings,
    State,
    StoredPassage,
    VectorSetRecord,
    rows_data,
)
from twofold.catalog.vector_file import append_vectors, map_vectors

__all__ = [
    "BlockRecord",
    "Catalog",
    "CatalogReader",
    "CatalogWriter",
    "PassageFields",
    "SegmentRecord",
    "Settings",
    "State",
    "StoredPassage",
    "VectorSetRecord",
    "WriteLock",
    "append_vectors",
    "content_hash",
    "map_vectors",
    "mapped",
    "pack",
    "read_head",
    "refuse_network",
    "rows_data",
    "sync_folder",
    "unpack",
    "write_head",
    "write_whole",
]
