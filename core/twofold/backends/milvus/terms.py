"""Terms as words that every tokenizer of Milvus keeps whole, and the limits of its text fields."""

import re
from collections.abc import Iterable, Mapping

import xxhash

MAX_TEXT = 65_535
"""Bytes of a text field of Milvus."""
_PLAIN = re.compile(r"[a-z0-9]{1,24}")
_PREFIX = "zq"
"""The beginning of encoded terms; plain terms that begin so are encoded as well."""
_MAX_BYTES = 16


def encode_term(term: str) -> str:
    """Return a term in lower-case letters and digits alone.

    Short words of such letters stay as they are. Others become their bytes in hexadecimal, and
    long ones a hash.
    """
    if _PLAIN.fullmatch(term) and not term.startswith(_PREFIX):
        return term
    data = term.encode("utf-8", "surrogatepass")
    if len(data) <= _MAX_BYTES:
        return _PREFIX + data.hex()
    return _PREFIX + "x" + xxhash.xxh3_128_hexdigest(data)[:24]


def join_terms(terms: Iterable[str]) -> str:
    """Return a query's terms as a text that Milvus splits into them."""
    return " ".join(map(encode_term, terms))


def join_counted(counts: Mapping[str, int]) -> str:
    """Return a passage's terms, each as often as it occurs, as a text that Milvus splits."""
    return " ".join(" ".join([encode_term(term)] * count) for term, count in counts.items())
