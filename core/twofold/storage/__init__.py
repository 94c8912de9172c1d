"""Durable storage: the catalog, the HEAD file, vector files, array containers and the lock."""

from twofold.storage.catalog import Catalog, CatalogReader, CatalogWriter
from twofold.storage.files import (
    append_vectors,
    check_local_disk,
    content_hash,
    map_file,
    map_vectors,
    pack_arrays,
    read_head,
    sync_folder,
    unpack_arrays,
    write_atomic,
    write_head,
)
from twofold.storage.lock import WriteLock
from twofold.storage.records import (
    BlockRecord,
    IndexSettings,
    PassageFields,
    SegmentRecord,
    State,
    StoredPassage,
    VectorSetRecord,
    encode_rows,
)

__all__ = [
    "BlockRecord",
    "Catalog",
    "CatalogReader",
    "CatalogWriter",
    "IndexSettings",
    "PassageFields",
    "SegmentRecord",
    "State",
    "StoredPassage",
    "VectorSetRecord",
    "WriteLock",
    "append_vectors",
    "check_local_disk",
    "content_hash",
    "encode_rows",
    "map_file",
    "map_vectors",
    "pack_arrays",
    "read_head",
    "sync_folder",
    "unpack_arrays",
    "write_atomic",
    "write_head",
]
