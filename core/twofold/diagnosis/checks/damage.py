"""Checks for damaged texts: wrong encodings, markup, remains of PDF files."""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from twofold.diagnosis.finding import Finding, first_ids, percent
from twofold.diagnosis.sample import IndexSample

_NOTE = 0.01
"""The share of damaged passages from which it is worth knowing."""
_CP1252 = (
    "\u0152\u0153\u0160\u0161\u0178\u017d\u017e\u0192\u02c6\u02dc\u2013\u2014\u2018-\u201e"
    "\u2020-\u2022\u2026\u2030\u2039\u203a\u20ac\u2122"
)
"""What Windows shows for the bytes 128 to 159."""
_RAW = "\u0080-\u009f\u00a1-\u00aa\u00ac-\u00ba\u00bc-\u00bf"
"""The second byte of UTF-8 as Latin-1, without what may stand after a letter: quotes, no-break
space."""
_MOJIBAKE = re.compile(
    f"\ufffd|[\u00c2-\u00dc][{_RAW}{_CP1252}]"
    f"|[\u00e0-\u00ef](?:[{_RAW}]|[{_CP1252}][{_RAW}{_CP1252}])"
    # UTF-8 read as Windows-1251; other single bytes read as Latin-1; UTF-8 read as Shift-JIS.
    "|(?:[\u0420\u0421][\u00a0-\u00bf\u0402-\u040f\u0452-\u045f\u2013-\u203a\u20ac\u2116\u2122]){2}"
    "|[\u00c0-\u00d6\u00d8-\u00f6\u00f8-\u00ff]{5}"
    "|(?:[\uff61-\uff9f][^\uff61-\uff9f]{0,3}){5}"
)
_LOST = re.compile(r"[^\W\d_]\?[^\W\d_].*?[^\W\d_]\?[^\W\d_]|\?{4,}", re.DOTALL)


@dataclass(frozen=True, slots=True)
class _Damage:
    """A kind of damage: its name, what finds it, and the share of passages that is an alarm.

    A ``whole`` text is what is searched, and not its title.
    """

    label: str
    find: Callable[[str], object]
    alarm: float
    advice: str
    whole: bool = False


_READ_AGAIN = "read the texts again with the right encoding, and upsert them"
_CONVERT = "convert the texts before they are stored"
_EXTRACT = "extract the texts again, for example with `twofold index`, and upsert them"
_KINDS = (
    _Damage("characters that an encoding error left", _MOJIBAKE.search, 0.1, _READ_AGAIN),
    _Damage("question marks in place of letters", _LOST.search, 0.05, _READ_AGAIN),
    _Damage(
        "escaped characters such as \\u00fc, \\xfc or %C3",
        re.compile(
            r"\\u[0-9a-fA-F]{4}|(?:\\x[0-9a-f]{2}.*?){2}|(?:%[0-9A-F]{2}[^%]{0,20}){4}", re.DOTALL
        ).search,
        0.05,
        _CONVERT,
    ),
    _Damage(
        "control characters",
        re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x84\x86-\x9f]").search,
        0.05,
        _EXTRACT,
    ),
    _Damage(
        "letters with blanks between them",
        re.compile(r"(?<!\S)(?:[^\W\d_] ){6}").search,
        0.05,
        _EXTRACT,
    ),
    _Damage(
        "words that are divided at the ends of lines",
        re.compile(r"[^\W\d_][-\u00ad\u2010]\s*\n\s*[^\W\d_]").search,
        0.05,
        _EXTRACT,
    ),
    _Damage(
        "invisible characters in words",
        re.compile("[^\\W\\d_][\u00ad\u200b\u2060\ufeff][^\\W\\d_]").search,
        0.05,
        _EXTRACT,
    ),
    _Damage("ligatures such as \ufb01", re.compile("[\ufb00-\ufb06]").search, 0.05, _EXTRACT),
    _Damage("codes of a PDF file's glyphs", re.compile(r"\(cid:\d+\)").search, 0.05, _EXTRACT),
    _Damage(
        "long runs of encoded data",
        re.compile(r"(?=\S*[a-z])(?=\S*[A-Z])(?=\S*\d)[A-Za-z0-9+/=]{60}").search,
        0.05,
        "leave attachments and pictures out",
    ),
    _Damage(
        "words without blanks between them",
        re.compile(r"[a-z]{30}").search,
        0.05,
        _EXTRACT,
    ),
    _Damage(
        "an object of a program in place of a text",
        re.compile(
            r"<[\w.]+ object at 0x"
            r"|\A\s*(?:b['\"]|\{['\"]\w+['\"]: |(?:Document|TextNode|Node)\(\w+=)"
        ).search,
        0.05,
        "store the text of the object",
        whole=True,
    ),
    _Damage(
        "a path or an address in place of a text",
        re.compile(r"\A\s*(?:https?://|[A-Za-z]:\\|\.{0,2}/)\S+\s*\Z").search,
        0.05,
        "store what the file or the page says",
        whole=True,
    ),
    _Damage(
        "a word for a missing value in place of a text",
        re.compile(r"\A\s*(?:none|nan|null|n/a|undefined|nil|<na>)\s*\Z", re.IGNORECASE).search,
        0.01,
        "delete these passages, or look for what lost their texts",
        whole=True,
    ),
    _Damage(
        "HTML or XML tags, or entities",
        re.compile(
            r"</[a-zA-Z][\w:-]*>|<(?:p|br|div|span|td|tr|li|img|hr)\b[^<>]*>"
            r"|&(?:#\d+|#x[\da-fA-F]+|[a-zA-Z]{2,8});"
        ).search,
        0.25,
        "take the markup out before the texts are stored",
    ),
    _Damage(
        "LaTeX commands",
        re.compile(
            r"\\(?:begin|end|textbf|textit|emph|cite\w*|ref|section|frac|math\w+|usepackage|label)\b"
        ).search,
        0.25,
        "take the markup out before the texts are stored",
    ),
)


def has_encoding_error(text: str) -> bool:
    """Return whether a text has characters that an encoding error left."""
    return _MOJIBAKE.search(text) is not None


def check_damage(sample: IndexSample) -> Iterator[Finding]:
    """Find texts with the traces of a wrong encoding, of markup or of a PDF file."""
    passages = sample.passages
    for kind in _KINDS:
        ids = [
            passage.id
            for passage in passages
            if kind.find(passage.text if kind.whole else passage.content)
        ]
        share = len(ids) / max(len(passages), 1)
        if share < _NOTE:
            continue
        yield Finding(
            "damaged-texts",
            "warning" if share >= kind.alarm else "note",
            f"{percent(share)} of the passages have {kind.label}",
            kind.advice,
            evidence=(f"{len(ids):,} of {len(passages):,} passages that were read",),
            share=share,
            ids=first_ids(ids),
        )
