"""The catalogue in other engines, looking for the same patterns in text that has been folded for them beforehand.

They do less: no folding, no disguises, no codes, no learned scorer, no personal data, no spans.
"""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import hyperscan
import re2
from tests.expressions import phrase_expression, with_lists

CATALOGUE = Path(__file__).parent.parent / "rust/core/src/patterns/catalogue"
DFA_BYTES = 1 << 28


def expressions() -> dict[str, bytes]:
    """The expression of each pattern that ships, by its id."""
    return dict(_expressions())


def _expressions() -> Iterator[tuple[str, bytes]]:
    for path in sorted(CATALOGUE.glob("*.json")):
        document = json.loads(path.read_text())
        lists = document.get("lists", {})
        for pattern in document["patterns"]:
            expression = pattern.get("regex") or phrase_expression(with_lists(pattern["phrase"], lists))
            yield pattern["id"], expression.encode()


class Re2Set:
    """google-re2's `Set`: which of the patterns are in a text."""

    def __init__(self) -> None:
        options = re2.Options()
        options.encoding = re2.Options.Encoding.LATIN1
        options.never_capture = True
        options.dot_nl = True
        options.max_mem = DFA_BYTES
        self._ids = list(expressions())
        self._set = re2.Set.SearchSet(options)
        for expression in expressions().values():
            self._set.Add(expression)
        self._set.Compile()

    def find(self, texts: Sequence[bytes]) -> set[str]:
        match, found = self._set.Match, set[int]()
        for text in texts:
            found.update(match(text) or ())
        return {self._ids[index] for index in found}


class Hyperscan:
    """Hyperscan in block mode: which of the patterns are in a text."""

    def __init__(self) -> None:
        self._ids = list(expressions())
        self._database = hyperscan.Database(mode=hyperscan.HS_MODE_BLOCK)
        flags = hyperscan.HS_FLAG_DOTALL | hyperscan.HS_FLAG_SINGLEMATCH
        self._database.compile(
            expressions=list(expressions().values()),
            ids=list(range(len(self._ids))),
            elements=len(self._ids),
            flags=[flags] * len(self._ids),
        )

    def find(self, texts: Sequence[bytes]) -> set[str]:
        found: set[int] = set()

        def matched(index: int, *_: Any) -> None:
            found.add(index)

        for text in texts:
            self._database.scan(text, match_event_handler=matched)
        return {self._ids[index] for index in found}
