"""Random numbers for names that must not meet: drawn from the system for many names at a time."""

import os
from collections.abc import Iterator
from itertools import chain

_NAMES_AT_ONCE = 256


def hex_ids(size: int, *, prefix: str = "") -> Iterator[str]:
    """Names of so many random bytes, in hex, without end. For one thread."""
    return chain.from_iterable(_lists_of(size, prefix))


def _lists_of(size: int, prefix: str) -> Iterator[list[str]]:
    digits = 2 * size
    while True:
        drawn = os.urandom(size * _NAMES_AT_ONCE).hex()
        yield [prefix + drawn[at : at + digits] for at in range(0, len(drawn), digits)]
