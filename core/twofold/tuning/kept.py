"""What was computed and may be asked for again, as far as memory allows."""

from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

_Value = TypeVar("_Value")


class Kept(Generic[_Value]):
    """Values by key, those asked for last; together at most ``room`` bytes, or one value."""

    def __init__(self, room: int, size: Callable[[_Value], int]) -> None:
        self._room = room
        self._size = size
        self._used = 0
        self._values: OrderedDict[Hashable, _Value] = OrderedDict()

    def get(self, key: Hashable, made: Callable[[], _Value]) -> _Value:
        """Return the value of a key, made anew where it isn't kept."""
        if key in self._values:
            self._values.move_to_end(key)
            return self._values[key]
        value = made()
        self._values[key] = value
        self._used += self._size(value)
        while self._used > self._room and len(self._values) > 1:
            _, gone = self._values.popitem(last=False)
            self._used -= self._size(gone)
        return value
