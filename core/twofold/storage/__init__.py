"""Durable storage: the catalog, the HEAD file, vector files, array containers and the lock.

The catalog (SQLite) and the vector files are the primary data; segments are derived from them.
Every row, file and array has a checksum. HEAD names the last committed generation, to detect a
catalog that has lost commits. Only local disks are supported.

`FORMAT` grows with every change of what is stored. Folders of formats before `OLDEST_FORMAT` and
after `FORMAT` are refused. `tests/core/index/stored` has a folder of each format
since 5, which must still open.
"""

from twofold.storage.archive import BackupArchive, Manifest, Part
from twofold.storage.catalog import (
    Catalog,
    CatalogKey,
    CatalogReader,
    CatalogWriter,
    FileTimes,
    file_key,
)
from twofold.storage.catalog_salvage import CatalogSalvage
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
    open_plain,
    pack_arrays,
    read_head,
    read_plain,
    real_path,
    storage_errors,
    sync_file,
    sync_folder,
    unpack_arrays,
    write_atomic,
    write_head,
)
from twofold.storage.lock import WriteLock
from twofold.storage.records import (
    FORMAT,
    MAX_DIM,
    MAX_TITLE_WEIGHT,
    BlockRecord,
    IndexSettings,
    PassageFields,
    SegmentRecord,
    State,
    StoredPassage,
    VectorSetRecord,
    encode_rows,
    field_values,
    is_file_name,
    row_checksum,
)

__all__ = [
    "FORMAT",
    "HAS_FOLDER_HANDLES",
    "MAX_DIM",
    "MAX_TITLE_WEIGHT",
    "BackupArchive",
    "BlockRecord",
    "Catalog",
    "CatalogKey",
    "CatalogReader",
    "CatalogSalvage",
    "CatalogWriter",
    "FileTimes",
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
    "field_values",
    "file_key",
    "find_damaged_slots",
    "is_file_name",
    "make_folders",
    "map_file",
    "map_vectors",
    "open_plain",
    "pack_arrays",
    "read_head",
    "read_plain",
    "real_path",
    "row_checksum",
    "storage_errors",
    "sync_file",
    "sync_folder",
    "unpack_arrays",
    "write_atomic",
    "write_head",
]
