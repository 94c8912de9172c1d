"""Every error and warning that twofold raises, in one tree.

TwofoldError
├── InputError (ValueError)               a value from the caller can't be used
│   ├── PassageError                      a passage can't be stored
│   ├── VectorError                       vectors of a wrong shape or dtype, or with NaN
│   ├── FilterError                       a ``where`` that isn't a filter
│   └── QueryError                        k, mode or query that can't be asked
├── CorpusError (ValueError)              a corpus, queries or qrels file can't be read
├── IndexMismatchError (ValueError)       an argument contradicts what the index stores
│   └── EncoderMismatchError              another model than the one that filled the index
├── IndexNotFoundError (FileNotFoundError)
├── IndexLockedError (BlockingIOError)    another writer holds the index
├── IndexClosedError (ValueError)
├── ReadOnlyError (PermissionError)
├── UnsupportedStorageError (OSError)     a network file system, or a newer format
├── CorruptIndexError (OSError)           stored bytes aren't those that were written
├── EncoderNotFoundError (LookupError)    no model of that name on this machine or on the hub
└── MissingExtraError (ImportError)       an optional dependency isn't installed

TwofoldWarning (UserWarning)
├── DegradedWarning                       a leg had nothing to give, or texts that no leg finds
├── RebuildWarning                        a derived file was damaged and is being replaced
└── EncoderWarning                        another metric than the model's own, or drifting vectors
"""


class TwofoldError(Exception):
    """Base of every error raised by twofold."""


class InputError(TwofoldError, ValueError):
    """A value given by the caller can't be used; nothing was written."""


class PassageError(InputError):
    """A passage can't be stored: its id, text, title or metadata is not valid."""


class VectorError(InputError):
    """Vectors have a wrong shape or dtype, are not finite, or have no direction."""


class FilterError(InputError):
    """A ``where`` is not a filter: unknown operator or wrong operand."""


class QueryError(InputError):
    """A query can't be asked: k, mode, text or vector."""


class CorpusError(TwofoldError, ValueError):
    """A corpus, queries or qrels file can't be read; the message has file and line."""


class IndexMismatchError(TwofoldError, ValueError):
    """An argument of ``Index.open`` contradicts what the index stores."""


class EncoderMismatchError(IndexMismatchError):
    """The encoder is not the one whose vectors the index holds."""


class IndexNotFoundError(TwofoldError, FileNotFoundError):
    """There is no index at this path."""


class IndexLockedError(TwofoldError, BlockingIOError):
    """Another writer, in this process or another one, holds the index."""


class IndexClosedError(TwofoldError, ValueError):
    """The index was closed."""


class ReadOnlyError(TwofoldError, PermissionError):
    """The index was opened for reading only."""


class UnsupportedStorageError(TwofoldError, OSError):
    """The place or the format of the index can't be served by this version."""


class CorruptIndexError(TwofoldError, OSError):
    """Stored bytes are not those that were written, and nothing can replace them."""


class EncoderNotFoundError(TwofoldError, LookupError):
    """No model of that name was found."""


class MissingExtraError(TwofoldError, ImportError):
    """An optional dependency is not installed; the message has the pip command."""


class TwofoldWarning(UserWarning):
    """Base of every warning issued by twofold."""


class DegradedWarning(TwofoldWarning):
    """An answer or a write is poorer than it looks, and why."""


class RebuildWarning(TwofoldWarning):
    """A derived file was missing or damaged, and is rebuilt from the catalog."""


class EncoderWarning(TwofoldWarning):
    """The encoder is used in a way that its makers did not train it for."""
