"""The catalog's tables. Every row ends with the checksum of its content."""

APPLICATION_ID = 0x32464C44  # "2FLD", so that no other SQLite file is taken for a catalog

SCHEMA = (
    "CREATE TABLE settings (value TEXT NOT NULL, checksum INTEGER NOT NULL)",
    """CREATE TABLE state (
        generation INTEGER NOT NULL, next_row INTEGER NOT NULL, next_file INTEGER NOT NULL,
        passages INTEGER NOT NULL, segments INTEGER NOT NULL, vectors INTEGER NOT NULL,
        digest TEXT NOT NULL, checksum INTEGER NOT NULL)""",
    """CREATE TABLE passages (
        row INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, title TEXT NOT NULL, text TEXT NOT NULL,
        metadata TEXT NOT NULL, content BLOB NOT NULL, checksum INTEGER NOT NULL)""",
    "CREATE INDEX passages_content ON passages (content)",
    """CREATE TABLE segments (
        number INTEGER PRIMARY KEY, leg TEXT NOT NULL, first INTEGER NOT NULL,
        last INTEGER NOT NULL, rows INTEGER NOT NULL, file TEXT, blob BLOB,
        size INTEGER NOT NULL, hash BLOB NOT NULL, checksum INTEGER NOT NULL)""",
    """CREATE TABLE vector_sets (
        number INTEGER PRIMARY KEY, identity TEXT NOT NULL, canaries BLOB NOT NULL,
        active INTEGER NOT NULL, checksum INTEGER NOT NULL)""",
    """CREATE TABLE vector_blocks (
        number INTEGER PRIMARY KEY, vector_set INTEGER NOT NULL, file TEXT NOT NULL,
        first INTEGER NOT NULL, count INTEGER NOT NULL, rows BLOB NOT NULL,
        hash BLOB NOT NULL, checksum INTEGER NOT NULL)""",
    """CREATE TABLE tombstones (
        number INTEGER PRIMARY KEY, rows BLOB NOT NULL, checksum INTEGER NOT NULL)""",
)
