"""Phrases, matched by the core's own engine, compared with google-re2 looking for the same as expressions.

Texts are made of the phrases' own words and of words that nearly are, with gaps exactly as wide as allowed and one
wider. They are what folding leaves as it is: lower-case ASCII, single spaces. There are no digits in them and no
letters that stand alone, so that they are in no disguise; where one is found nevertheless, the text says nothing.
"""

import json
import re
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import re2
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from kalguard.decision.firewall import FirewallOptions, PromptFirewall
from tests.expressions import DEFAULT_GAP, phrase_expression, with_lists

CATALOGUE = Path(__file__).parent.parent.parent / "rust/core/src/patterns/catalogue"


class Phrase(NamedTuple):
    """A phrase as it is written, and its steps: gap before, words."""

    written: str
    steps: tuple[tuple[int, tuple[str, ...]], ...]

    @classmethod
    def parse(cls, written: str) -> "Phrase":
        steps, gap = [], DEFAULT_GAP
        for token in written.split():
            if token.startswith("~"):
                gap = int(token[1:])
            else:
                steps.append((gap, tuple(word.strip("*").replace("_", " ") for word in token.split("|"))))
                gap = DEFAULT_GAP
        return cls(written, tuple(steps))

    def hides_itself(self) -> bool:
        """Whether words of one step may end at two places within one word of the next.

        The engine remembers the last two places where a step was reached. Both may lie beyond where the next word
        begins, and what was reached before them is forgotten: a word of the next step then seems to follow nothing.
        """
        pairs = zip(self.steps, self.steps[1:], strict=False)
        is_open = "*" in self.written
        return any(len(_ends_within(word, others, is_open)) > 1 for (_, others), (_, words) in pairs for word in words)

    def example(self) -> str:
        written = "".join(" " * bool(index and gap) + words[0] for index, (gap, words) in enumerate(self.steps))
        return re.sub(" +", " ", written).strip()


def _ends_within(word: str, others: Sequence[str], is_open: bool) -> set[int]:
    """Where in `word` one of `others` may end that shares letters with it."""
    ends = set()
    for other, end in ((other, end) for other in others for end in range(1, len(word) + 1)):
        before = len(other) - end  # what of the other word lies before this one
        if before >= 0 and other.endswith(word[:end]):
            stand = _is_edge(other + word[end:], before) and _is_edge(other + word[end:], len(other))
        elif before < 0 and word[:end].endswith(other):
            stand = _is_edge(word, -before) and _is_edge(word, end)
        else:
            continue
        if stand or is_open:
            ends.add(end)
    return ends


def _is_edge(text: str, at: int) -> bool:
    return re.match(r"\w\w", text[max(at - 1, 0) : at + 1]) is None or at == 0


class Oracle:
    """One phrase as google-re2 reads it."""

    def __init__(self, phrase: Phrase) -> None:
        options = re2.Options()
        options.encoding = re2.Options.Encoding.LATIN1
        options.dot_nl = True
        expression = f"(?:{phrase_expression(phrase.written)})"
        self._anywhere = re2.compile(expression.encode(), options)
        self._at_end = re2.compile(f"{expression}$".encode(), options)

    def matches(self, text: str) -> bool:
        return self._anywhere.search(text.encode()) is not None

    def ends(self, text: str) -> set[int]:
        """Where a match ends, as far as words end there too."""
        edges = (at for at in range(1, len(text) + 1) if _is_edge(text, at))
        return {at for at in edges if self._at_end.search(text[:at].encode())}


def compiled(phrases: Sequence[Phrase]) -> Any:
    patterns = [
        {"id": f"own.p{index}", "category": "injection.jailbreak", "score": 1}
        | {"phrase": phrase.written, "matches": [phrase.example()]}
        for index, phrase in enumerate(phrases)
    ]
    return PromptFirewall(FirewallOptions(check_pii=False), json.dumps({"patterns": patterns}).encode()).scanner


def compare(scanner: Any, oracles: Sequence[Oracle], text: str) -> int:
    """Both find the same phrases, in the same places. Says how many, 0 for a text in disguise."""
    findings = scanner.explain([(0, "user", text)])[1]
    if any(finding[0] == "hidden.disguised" for finding in findings):
        return 0
    spans: dict[str, list[tuple[int, int]]] = {}
    for id_, _, _, start, end, _ in findings:
        spans.setdefault(id_, []).append((start, end))
    found = {index for index in range(len(oracles)) if f"own.p{index}" in spans}
    assert found == {index for index, oracle in enumerate(oracles) if oracle.matches(text)}, text
    for index in found:
        places = spans[f"own.p{index}"]
        assert all(oracles[index].matches(text[start:end]) for start, end in places), (text, places)
        missed = {at for at in oracles[index].ends(text) if not any(start < at <= end for start, end in places)}
        assert not missed, (text, places, missed)
    return len(found)


# Words that share letters and words with each other.
WORDS = [
    "ka",
    "lo",
    "kalo",
    "loka",
    "ka_lo",
    "lo_ka",
    "ka_ka",
    "ka_lo_ka",
    "ka's",
    "lo's_ka",
    ":",
    "ka:",
    "ka_",
    "(lo)",
]
OPEN_WORDS = ["ka*", "*ka", "*lo*", "*ka_lo", "lo_ka*"]
FILLERS = ["ka", "lo", "kal", "alo", "kalo", "lokas", "the", "of", "ka, lo", "lo.", "it's", ":"]
GAPS = st.sampled_from([0, 1, 2, 3, 4, 5, 8, 12, 24])


@st.composite
def phrases(draw: st.DrawFn) -> Phrase:
    words = st.sampled_from(WORDS + OPEN_WORDS) if draw(st.booleans()) else st.sampled_from(WORDS)
    written = []
    for index in range(draw(st.integers(1, 4))):
        if index and draw(st.booleans()):
            written.append(f"~{draw(GAPS)}")
        written.append("|".join(draw(st.lists(words, min_size=1, max_size=4, unique=True))))
    return Phrase.parse(" ".join(written))


@st.composite
def fillings(draw: st.DrawFn, size: int, fillers: Sequence[str]) -> str:
    """What stands between two words: exactly so many bytes, spaces around it where there is room."""
    if size < 3:
        return " " if size == 1 else "," * (size == 2) + " " * (size == 2)
    words = " ".join(draw(st.lists(st.sampled_from(fillers), min_size=1, max_size=4)))
    words = (words + " " + " ".join(fillers) * (size // 8 + 1))[: size - 2]
    return f" {words.rstrip()}".ljust(size, ".") if words.endswith(" ") else f" {words} "


@st.composite
def texts(draw: st.DrawFn, phrase: Phrase, fillers: Sequence[str]) -> str:
    """The phrase, twice perhaps, with gaps at their bounds, a step left out or changed now and then."""
    written = draw(fillings(draw(st.integers(0, 6)), fillers))
    for _ in range(draw(st.integers(1, 2))):
        for gap, words in phrase.steps:
            size = draw(st.sampled_from([gap, gap, gap + 1, max(gap - 1, 0), gap // 2, 1]))
            word = draw(st.sampled_from(words)) if draw(st.integers(0, 9)) else draw(st.sampled_from(fillers))
            written += draw(fillings(size, fillers)) + word
    return re.sub(" +", " ", written + draw(fillings(draw(st.integers(0, 4)), fillers))).strip()


@cache
def catalogue() -> tuple[tuple[Phrase, ...], tuple[Oracle, ...], Any]:
    """The phrases that ship, of words in plain letters."""
    found = []
    for path in sorted(CATALOGUE.glob("*.json")):
        document = json.loads(path.read_text())
        for pattern in document["patterns"]:
            written = with_lists(pattern.get("phrase", ""), document.get("lists", {}))
            if re.fullmatch(r"[a-z '|_*~0-9:.,!?()-]+", written):
                found.append(Phrase.parse(written))
    return tuple(found), tuple(map(Oracle, found)), compiled(found)


@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_phrases_that_ship_match_where_google_re2_says(data: st.DataObject) -> None:
    shipped, oracles, scanner = catalogue()
    phrase = data.draw(st.sampled_from(shipped))
    fillers = ["the", "of", "and then", "it's", *(words[0] for _, words in phrase.steps)]
    for text in data.draw(st.lists(texts(phrase, fillers), min_size=3, max_size=3)):
        compare(scanner, oracles, text)


@settings(max_examples=100, deadline=None)
@given(data=st.data())
def test_phrases_match_where_google_re2_says(data: st.DataObject) -> None:
    written = [phrase for phrase in data.draw(st.lists(phrases(), min_size=4, max_size=8)) if not phrase.hides_itself()]
    oracles = list(map(Oracle, written))
    usable = [pair for pair in zip(written, oracles, strict=True) if pair[1].matches(pair[0].example())]
    assume(usable)
    written, oracles = [phrase for phrase, _ in usable], [oracle for _, oracle in usable]
    scanner = compiled(written)
    for phrase in written:
        compare(scanner, oracles, data.draw(texts(phrase, FILLERS)))


def test_what_is_compared_is_found_often_enough() -> None:
    """A comparison of nothing with nothing proves nothing."""
    shipped, oracles, scanner = catalogue()
    assert len(shipped) > 60
    assert not any(phrase.hides_itself() for phrase in shipped)
    assert all(compare(scanner, oracles, phrase.example()) for phrase in shipped)
