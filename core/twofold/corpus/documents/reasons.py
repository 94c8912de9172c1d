"""Why a file of a folder gives no passages."""

EMPTY, BINARY, HIDDEN, LINK = "empty", "binary", "hidden", "linked folder"
NO_FILE, UNREADABLE, UNKNOWN = "no file", "unreadable", "unknown encoding"
BAD_NAME, BROKEN, PROTECTED, NO_TEXT = "bad name", "broken", "protected", "no text"
TOO_LARGE, NO_PACKAGE, INDEX = "too large", "missing package", "index"
"""Reasons of `SkippedFile`; all other reasons are suffixes that no reader is for."""

PROBLEMS = {
    UNREADABLE: "the system can't read it",
    UNKNOWN: "neither Unicode nor Windows-1252; convert it to UTF-8",
    BINARY: "it has NUL characters, so it is no text, or UTF-16 without a byte order mark",
    BAD_NAME: "its name is not UTF-8; rename it",
    BROKEN: "it isn't valid in its format",
    PROTECTED: "it is encrypted; save it without a password",
    NO_TEXT: "no text was found in it; if it has scanned pages, recognize their text (OCR) first",
    TOO_LARGE: "it is too large",
    NO_PACKAGE: "its format needs a package",
}
"""By reason, the message for a file that is left out although it may have text."""

FILE_REASONS = (*PROBLEMS, EMPTY, NO_FILE, LINK)
"""Why a single file is left out. The other reasons are suffixes, ``hidden`` and ``index``."""
