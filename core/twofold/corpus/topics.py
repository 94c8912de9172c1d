"""Reads TREC topics, in SGML or XML."""

import html
import re
import zlib
from collections.abc import Iterator
from pathlib import Path

from twofold.corpus.reading import line_error, open_file, read_lines
from twofold.corpus.records import suffix_of
from twofold.errors import CorpusError

_TOPIC = re.compile(r"<(top|topic)\b([^>]*)>", re.IGNORECASE)
_CLOSING = {name: re.compile(rf"</{name}\s*>", re.IGNORECASE) for name in ("top", "topic")}
_NUMBER = re.compile(r"\b(?:number|id|num)\s*=\s*[\"']?([^\"'\s>]+)", re.IGNORECASE)
_FIELD = re.compile(r"<(\w+)\b[^>]*>([^<]*)")
_LABEL = re.compile(r"\s*(?:number|topic|title|description)\s*:", re.IGNORECASE)
_TEXTS = ("title", "query", "question", "desc", "description")
"""Fields that have a topic's text, the first that has one counts."""
_NAMES = (".topics", ".xml", ".trec", ".sgml", ".txt", "")
_HEAD = 2000


def is_trec_topics(path: Path) -> bool:
    """Return whether a file has TREC topics, by its name and its first characters."""
    if suffix_of(path) not in _NAMES and not path.name.lower().startswith("topics"):
        return False
    try:
        with open_file(path, "rb") as file:
            head = file.read(_HEAD)
    except (OSError, EOFError, zlib.error):  # raised again, with its place, when it is read
        return False
    head = head.removeprefix(b"\xef\xbb\xbf").lstrip()
    return head[:1] == b"<" and re.search(rb"<topics?\b|<top>", head, re.IGNORECASE) is not None


def read_trec_topics(path: Path) -> Iterator[tuple[int, str, str]]:
    """Yield (line number, id, text) of each topic; raise CorpusError for one without a text."""
    lines = dict(read_lines(path))
    text = "\n".join(lines.get(number, "") for number in range(1, max(lines, default=0) + 1))
    end, number, counted, found = 0, 1, 0, False
    for match in _TOPIC.finditer(text):
        if match.start() < end:
            continue
        closing = _CLOSING[match[1].lower()].search(text, match.end())
        if closing is None:
            break
        end = closing.start()
        body = text[match.end() : end]
        found = True
        number += text.count("\n", counted, match.start())
        counted = match.start()
        fields: dict[str, str] = {}
        for name, value in _FIELD.findall(body):
            fields.setdefault(name.lower(), _clean(value))
        attribute = _NUMBER.search(match[2])
        topic_id = attribute[1] if attribute is not None else fields.get("num", "")
        words = next((fields[name] for name in _TEXTS if fields.get(name)), "")
        words = words or _clean(re.sub(r"<[^>]*>", " ", body) if attribute is not None else "")
        if not words:
            problem = f"topic {topic_id!r:.40} has no title, query or question"
            raise line_error(path, number, problem)
        yield number, topic_id, words
    if not found:
        raise CorpusError(f"{path} has no topics that end in </top> or </topic>")


def _clean(text: str) -> str:
    return " ".join(html.unescape(_LABEL.sub("", text, count=1)).split())
