"""What was worked out lately and may be asked for again, in bounded memory."""

from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

_T = TypeVar("_T")


class Remembered(Generic[_T]):
    """Keeps the last `most // 2` things that were put in or asked for, and `most` of them at most.

    There are two halves: what is new comes into the younger one, and when that is full, or `seconds` old, the older one
    is forgotten as a whole. So nothing is moved and nothing searched, however much there is, and what nobody asks for
    any more does not stay. `clock` gives seconds.
    """

    def __init__(self, most: int, *, seconds: float, clock: Callable[[], float]) -> None:
        self._half = max(1, most // 2)
        self._seconds = seconds
        self._clock = clock
        self._began = clock()
        self._younger: dict[Hashable, _T] = {}
        self._older: dict[Hashable, _T] = {}

    def __len__(self) -> int:
        """How many things are kept."""
        return len(self._younger) + len(self._older)

    def get(self, name: Hashable) -> _T | None:
        """What was put in under this name, if it is still there."""
        found = self._younger.get(name)
        if found is None and (found := self._older.pop(name, None)) is not None:
            self.put(name, found)
        return found

    def put(self, name: Hashable, value: _T) -> None:
        """Keep something."""
        now = self._clock()
        if len(self._younger) >= self._half or not 0 <= now - self._began < self._seconds:
            self._younger, self._older, self._began = {}, self._younger, now
        self._younger[name] = value

    def clear(self) -> None:
        """Forget everything."""
        self._younger, self._older = {}, {}
