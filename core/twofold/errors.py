"""The errors and warnings that twofold raises."""


class TwofoldError(Exception):
    """Base of every error raised by twofold.

    Example:
        >>> from twofold import Index, TwofoldError
        >>> try:
        ...     Index.open("nowhere", create=False)
        ... except TwofoldError as error:
        ...     print(type(error).__name__)
        IndexNotFoundError
    """


class InputError(TwofoldError, ValueError):
    """An argument is invalid. Nothing was written."""


class PassageError(InputError):
    """A passage has an invalid id, text, title or metadata."""


class VectorError(InputError):
    """Vectors have a wrong shape or dtype, or values that aren't finite."""


class FilterError(InputError):
    """A ``where`` filter has an unknown operator or an operand of the wrong type."""


class QueryError(InputError):
    """A query has an invalid text, vector, k, mode or other option."""


class CorpusError(TwofoldError, ValueError):
    """A corpus, queries or qrels file can't be read. The message names file and line."""


class IndexMismatchError(TwofoldError, ValueError):
    """An argument of ``Index.open`` contradicts what the index stores."""


class EncoderMismatchError(IndexMismatchError):
    """The encoder is not the one that produced the stored vectors."""


class IndexNotFoundError(TwofoldError, FileNotFoundError):
    """There is no index at this path."""


class IndexLockedError(TwofoldError, BlockingIOError):
    """Another writer, in this or another process, holds the index's write lock."""


class IndexClosedError(TwofoldError, ValueError):
    """The index was closed."""


class ReadOnlyError(TwofoldError, PermissionError):
    """The index was opened for reading only."""


class UnsupportedStorageError(TwofoldError, OSError):
    """The file system or the format of the index is not supported by this version."""


class StorageError(TwofoldError, OSError):
    """The system could not read or write an index: no permission, no space, a failing disk."""


class CorruptIndexError(TwofoldError, OSError):
    """Stored data is damaged and can't be rebuilt."""


class EncoderNotFoundError(TwofoldError, LookupError):
    """No model with this name was found."""


class ServiceError(TwofoldError, OSError):
    """An embedding service refused a request, or gave no usable answer. Never holds a key."""


class BackendError(TwofoldError, OSError):
    """A server refused a request, failed, or gave no answer in time. Never holds a password.

    ``transient`` is whether the same call may succeed later.
    """

    transient = False


class ConcurrentDeleteError(BackendError):
    """Another client deleted passages while a search read them. A retriever searches again."""


class WorkerError(TwofoldError, RuntimeError):
    """Processes that were to run a task died again and again."""


class MissingExtraError(TwofoldError, ImportError):
    """An optional dependency is not installed. The message has the pip command."""


class TwofoldWarning(UserWarning):
    """Base of every warning issued by twofold."""


class DegradedWarning(TwofoldWarning):
    """Results or stored data are worse than they could be. The message says why."""


class RebuildWarning(TwofoldWarning):
    """A derived file was missing or damaged, and is rebuilt from the catalog."""


class EncoderWarning(TwofoldWarning):
    """The encoder is used in a way that it was not trained for."""
