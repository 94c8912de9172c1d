"""Translates a parsed filter to an expression of Milvus.

An expression never contains text of a filter: fields and values are hashed. Each passage has
``tokens``, hashes of what holds for its fields, such as "year is 2003" or "tags has an element 1".
A condition on an array is true or false, while one on a missing key of a JSON field is neither in
some versions, so that ``not`` would be wrong. ``values`` has what ranges and substrings need.
"""

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import xxhash

from twofold.errors import FilterError
from twofold.filters import Filter
from twofold.filters.instants import parse_instant
from twofold.filters.parser import ID, And, Condition, Not, Operator, Or
from twofold.filters.values import ValueType, canonicalize, encode_value, flatten_metadata

MAX_TOKENS = 4_096
"""Elements of an array field of Milvus."""
TOKEN_LENGTH = 24
_LARGEST = 1.7976931348623157e308
_COMPARE = {Operator.GT: ">", Operator.GTE: ">=", Operator.LT: "<", Operator.LTE: "<="}
_TRUE, _FALSE = "row >= 0", "row < 0"
_TYPES = {
    ValueType.NULL: "null",
    ValueType.BOOL: "boolean",
    ValueType.NUMBER: "number",
    ValueType.BIG: "number",
    ValueType.STRING: "string",
    ValueType.LIST: "list",
    ValueType.OBJECT: "object",
}
_HIGH, _LOW = "abcdefghijklmnop", "ABCDEFGHIJKLMNOP"
_PAIRS = [_HIGH[byte >> 4] + _LOW[byte & 15] for byte in range(256)]


def hash_id(passage_id: str) -> str:
    """Return the primary key of a passage."""
    return xxhash.xxh3_128_hexdigest(passage_id.encode("utf-8", "surrogatepass"))


def encode_text(text: str) -> str:
    """Return a string as letters in the same order, whose substrings are those of the string.

    Each byte is a letter of a to p and one of A to P, so that no match begins within a byte.
    """
    return "".join([_PAIRS[byte] for byte in text.encode("utf-8", "surrogatepass")])


def type_token(field: str, kind: ValueType) -> str:
    """Return the token of passages whose field has a value of this type."""
    return _hash("type", field, _TYPES[kind])


def filter_fields(metadata: Mapping[str, Any]) -> tuple[list[str], dict[str, Any]]:
    """Return the fields ``tokens`` and ``values`` of a passage."""
    tokens: dict[str, None] = {}
    values: dict[str, Any] = {}
    for field, value in flatten_metadata(metadata).items():
        kind, number, _ = encode_value(value)
        tokens[_hash("exists", field)] = None
        tokens[type_token(field, kind)] = None
        if value in (None, "", [], {}) and not isinstance(value, bool | int | float):
            tokens[_hash("empty", field)] = None
        for token in _equality_tokens("is", field, [value]):
            tokens[token] = None
        if isinstance(value, list | tuple):
            for token in _equality_tokens("has", field, value):
                tokens[token] = None
        elif _TYPES[kind] == "number":
            values["n" + _path(field)] = min(max(number, -_LARGEST), _LARGEST)
        elif isinstance(value, str):
            values["s" + _path(field)] = encode_text(value)
            if (folded := value.casefold()) != value:
                tokens[_hash("folds", field)] = None
                values["f" + _path(field)] = encode_text(folded)
            moment = parse_instant(value)
            if moment is not None:
                tokens[_hash("moment", field)] = None
                values["m" + _path(field)] = encode_text(moment)
    return list(tokens), values


class FilterCompiler:
    """Compiles filters to expressions of one server.

    Args:
        server: The name of the server, for errors.
        has_infix: Whether its expressions find a text within another one.
    """

    def __init__(self, server: str, *, has_infix: bool) -> None:
        self._server = server
        self._has_infix = has_infix

    def compile(self, where: Filter) -> str:
        """Return the expression of a filter; raise FilterError for what the server can't do."""
        match where:
            case Condition():
                return self._condition(where)
            case Not(part):
                return f"not ({self.compile(part)})"
            case And(parts):
                return " and ".join(f"({self.compile(part)})" for part in parts) or _TRUE
            case Or(parts):
                return " or ".join(f"({self.compile(part)})" for part in parts) or _FALSE

    def _condition(self, condition: Condition) -> str:
        field, operator, value = condition.field, condition.operator, condition.value
        if field == ID:
            ids = value if operator is Operator.IN else [value]
            return in_keys([hash_id(one) for one in ids])
        match operator:
            case Operator.EXISTS:
                return _negate_unless(value, _has([_hash("exists", field)]))
            case Operator.EMPTY:
                exists, empty = _has([_hash("exists", field)]), _has([_hash("empty", field)])
                return _negate_unless(value, f"(not ({exists})) or ({empty})")
            case Operator.EQ:
                return _has(_equality_tokens("is", field, [value]))
            case Operator.IN:
                return _has(_equality_tokens("is", field, value))
            case Operator.CONTAINS:
                return _has(_equality_tokens("has", field, [value]))
            case Operator.ANY:
                return _has(_equality_tokens("has", field, value))
            case Operator.ALL:
                each = [_has(_equality_tokens("has", field, [item])) for item in value]
                return " and ".join([_has([type_token(field, ValueType.LIST)]), *each])
            case Operator.TEXT | Operator.ITEXT:
                return self._contains_text(field, value, fold=operator is Operator.ITEXT)
            case _:
                return _compare(field, operator, value)

    def _contains_text(self, field: str, value: str, *, fold: bool) -> str:
        if not self._has_infix:
            raise FilterError(
                f"{self._server} has no filter for text within a string, which came with Milvus "
                "2.4: upgrade it, or leave out $text and $itext"
            )
        is_string = _has([type_token(field, ValueType.STRING)])
        pattern = encode_text(value.casefold() if fold else value)
        found = f'{is_string} and values["s{_path(field)}"] like "%{pattern}%"'
        if not fold:
            return found
        folds = _has([_hash("folds", field)])
        return (
            f'({folds} and values["f{_path(field)}"] like "%{pattern}%") or '
            f"((not ({folds})) and {found})"
        )


def in_keys(keys: Iterable[str], field: str = "key") -> str:
    """Return the expression of rows with these keys in a field."""
    joined = ", ".join(f'"{key}"' for key in keys)
    return f"{field} in [{joined}]" if joined else _FALSE


def has_token(token: str) -> str:
    """Return the expression of passages with a token."""
    return _has([token])


def _compare(field: str, operator: Operator, value: Any) -> str:
    sign, path = _COMPARE[operator], _path(field)
    if not isinstance(value, str):
        is_number = _has([type_token(field, ValueType.NUMBER)])
        _, number, _ = encode_value(value)
        if math.isinf(number):
            below = operator in (Operator.LT, Operator.LTE)
            return is_number if below == (number > 0) else _FALSE
        return f'{is_number} and values["n{path}"] {sign} {number!r}'
    is_string = _has([type_token(field, ValueType.STRING)])
    by_text = f'values["s{path}"] {sign} "{encode_text(value)}"'
    instant = parse_instant(value)
    if instant is None:
        return f"{is_string} and {by_text}"
    moment = _has([_hash("moment", field)])
    return (
        f'({moment} and values["m{path}"] {sign} "{encode_text(instant)}") or '
        f"({is_string} and (not ({moment})) and {by_text})"
    )


def _equality_tokens(relation: str, field: str, values: Sequence[Any]) -> list[str]:
    """Return the tokens of values; a string that is a moment has one for the moment as well."""
    tokens = []
    for value in values:
        text = json.dumps(canonicalize(value), sort_keys=True)
        tokens.append(_hash(relation, field, text))
        moment = parse_instant(value) if isinstance(value, str) else None
        if moment is not None:
            tokens.append(_hash(f"{relation} moment", field, moment))
    return tokens


def _has(tokens: Sequence[str]) -> str:
    """Return the expression of passages with one of the tokens."""
    if not tokens:
        return _FALSE
    if len(tokens) == 1:
        return f'array_contains(tokens, "{tokens[0]}")'
    joined = ", ".join(f'"{token}"' for token in tokens)
    return f"array_contains_any(tokens, [{joined}])"


def _negate_unless(value: object, expression: str) -> str:
    return expression if value else f"not ({expression})"


def _hash(relation: str, field: str, value: str = "") -> str:
    data = json.dumps([relation, field, value]).encode()
    return xxhash.xxh3_128_hexdigest(data)[:TOKEN_LENGTH]


def _path(field: str) -> str:
    """Return the name under which the values of a field are stored."""
    return xxhash.xxh3_64_hexdigest(field.encode("utf-8", "surrogatepass"))
