"""Phrases as regular expressions: what other engines are given, to be compared with.

How a phrase is written is told in `docs/detection.md`. Folding is imitated as far as letters with accents go; phrases
in scripts with look-alike letters are not what the core looks for, letter by letter.
"""

import re
import unicodedata
from collections.abc import Mapping, Sequence

DEFAULT_GAP = 3


def with_lists(phrase: str, lists: Mapping[str, Sequence[str]]) -> str:
    """The phrase with words in place of the names of lists."""
    return re.sub(r"\$([a-z][a-z0-9_]*)", lambda name: "|".join(lists[name[1]]), phrase)


def phrase_expression(phrase: str) -> str:
    """An expression in RE2 syntax for folded text, with `.` for any byte."""
    written: list[str] = []
    gap = ""
    for token in phrase.split():
        if token.startswith("~"):
            gap = _gap(int(token[1:]))
            continue
        if written:
            written.append(gap or _gap(DEFAULT_GAP))
        written.append(f"(?:{'|'.join(map(_word, token.split('|')))})")
        gap = ""
    return "".join(written)


def _gap(size: int) -> str:
    return f".{{0,{size}}}"


def _word(word: str) -> str:
    open_start, open_end = word.startswith("*"), len(word) > 1 and word.endswith("*")
    plain = fold(word.strip("*").replace("_", " "))
    start = "" if open_start or not _is_word(plain[0]) else r"\b"
    end = "" if open_end or not _is_word(plain[-1]) else r"\b"
    return start + re.escape(plain).replace(r"\ ", " ") + end


def _is_word(letter: str) -> bool:
    return letter.isascii() and letter.isalnum()


def fold(text: str) -> str:
    """Lower case, without accents."""
    letters = unicodedata.normalize("NFKD", text.lower())
    return unicodedata.normalize("NFC", "".join(c for c in letters if not "\u0300" <= c <= "\u036f"))
