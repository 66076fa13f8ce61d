"""Runs a target under atheris, from seeds that are written first: `python -m tests.fuzz.bodies -max_total_time=600`.

What libFuzzer takes on its command line is taken here. Corpus and findings stay in `.fuzz`, out of the repository; a
finding becomes a test beside the code that it was found in.
"""

import sys
from collections.abc import Callable, Iterable
from pathlib import Path

import atheris

FOLDER = Path(__file__).parent.parent.parent / ".fuzz"


def fuzz(name: str, target: Callable[[bytes], None], seeds: Iterable[bytes], *, dictionary: Iterable[str]) -> None:
    """Call `target` with inputs until the time is up, or it raises. Does not return."""
    corpus, findings = FOLDER / "corpus" / name, FOLDER / "findings" / name
    for folder in (corpus, findings):
        folder.mkdir(parents=True, exist_ok=True)
    for number, seed in enumerate(seeds):
        (corpus / f"seed-{number:04}").write_bytes(seed)
    words = FOLDER / f"{name}.dict"
    words.write_text("".join(f"{_quoted(word)}\n" for word in dictionary))
    options = [
        f"-artifact_prefix={findings}/",
        f"-dict={words}",
        "-max_len=8192",
        "-len_control=0",
        "-print_final_stats=1",
    ]
    atheris.Setup([sys.argv[0], *options, *sys.argv[1:], str(corpus)], target)
    atheris.Fuzz()


def _quoted(word: str) -> str:
    """A word as libFuzzer's dictionaries spell it."""
    return '"' + "".join(f"\\x{byte:02x}" for byte in word.encode("utf-8", "surrogatepass")) + '"'
