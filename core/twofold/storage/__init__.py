"""Durable storage: the catalog, its HEAD, vector files and containers of arrays."""

from twofold.storage.catalog import Catalog, CatalogReader, CatalogWriter
from twofold.storage.checksum import content_hash
from twofold.storage.files import (
    append_vectors,
    map_vectors,
    mapped,
    pack,
    read_head,
    refuse_network,
    sync_folder,
    unpack,
    write_head,
    write_whole,
)
from twofold.storage.lock import WriteLock
from twofold.storage.records import (
    BlockRecord,
    PassageFields,
    SegmentRecord,
    Settings,
    State,
    StoredPassage,
    VectorSetRecord,
    rows_data,
)

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
