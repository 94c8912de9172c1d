"""Durable storage: the catalog, the HEAD file, vector files, array containers and the lock.

The catalog (SQLite) and the vector files are the primary data; segments are derived from them.
Every row, file and array has a checksum. HEAD names the last committed generation, to detect a
catalog that has lost commits. Only local disks are supported.

A folder of another format is refused with a message that says to index the passages again:
`FORMAT` grows with every change of what is stored.
"""

from twofold.storage.catalog import (
    Catalog,
    CatalogKey,
    CatalogReader,
    CatalogWriter,
    FileTimes,
    file_key,
)
from twofold.storage.files import (
    HAS_FOLDER_HANDLES,
    Version,
    append_vectors,
    check_local_disk,
    content_hash,
    create_head,
    exchange_paths,
    find_damaged_slots,
    make_folders,
    map_file,
    map_vectors,
    pack_arrays,
    read_head,
    read_plain,
    storage_errors,
    sync_file,
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
    "HAS_FOLDER_HANDLES",
    "BlockRecord",
    "Catalog",
    "CatalogKey",
    "CatalogReader",
    "CatalogWriter",
    "FileTimes",
    "IndexSettings",
    "PassageFields",
    "SegmentRecord",
    "State",
    "StoredPassage",
    "VectorSetRecord",
    "Version",
    "WriteLock",
    "append_vectors",
    "check_local_disk",
    "content_hash",
    "create_head",
    "encode_rows",
    "exchange_paths",
    "file_key",
    "find_damaged_slots",
    "make_folders",
    "map_file",
    "map_vectors",
    "pack_arrays",
    "read_head",
    "read_plain",
    "storage_errors",
    "sync_file",
    "sync_folder",
    "unpack_arrays",
    "write_atomic",
    "write_head",
]
