"""Durable storage: the catalog, the HEAD file, vector files, array containers and the lock.

The catalog (SQLite) and the vector files are the primary data; segments are derived from them.
Every row, file and array has a checksum. HEAD names the last committed generation, to detect a
catalog that has lost commits. Only POSIX locks on local disks are supported.

`FORMAT` grows with every change of what is stored, and a folder of another format is refused.
`tests/core/index/stored` has a folder of each format since 5, which must still open.
"""

from twofold.storage.archive import BackupArchive, Manifest, Part
from twofold.storage.catalog import Catalog, CatalogKey, CatalogReader, CatalogWriter, file_key
from twofold.storage.catalog_salvage import CatalogSalvage
from twofold.storage.files import (
    Version,
    append_vectors,
    check_local_disk,
    content_hash,
    create_head,
    exchange_paths,
    make_folders,
    map_file,
    map_vectors,
    pack_arrays,
    read_head,
    storage_errors,
    sync_folder,
    unpack_arrays,
    write_atomic,
    write_head,
)
from twofold.storage.lock import WriteLock
from twofold.storage.records import (
    FORMAT,
    BlockRecord,
    IndexSettings,
    PassageFields,
    SegmentRecord,
    State,
    StoredPassage,
    VectorSetRecord,
    encode_rows,
    is_file_name,
)

__all__ = [
    "FORMAT",
    "BackupArchive",
    "BlockRecord",
    "Catalog",
    "CatalogKey",
    "CatalogReader",
    "CatalogSalvage",
    "CatalogWriter",
    "IndexSettings",
    "Manifest",
    "Part",
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
    "is_file_name",
    "make_folders",
    "map_file",
    "map_vectors",
    "pack_arrays",
    "read_head",
    "storage_errors",
    "sync_folder",
    "unpack_arrays",
    "write_atomic",
    "write_head",
]
