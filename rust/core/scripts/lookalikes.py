"""Prints src/text/lookalikes.rs: characters that Unicode's security data calls confusable with a Latin letter.

Usage: python3 scripts/lookalikes.py TABLES > src/text/lookalikes.rs

TABLES is `src/tables.rs` of the crate unicode-security 0.1.3, which holds confusables.txt of Unicode 18.0. Left out:
what compatibility decomposition already makes a letter, and the scripts of languages that are read as they are.
"""

import re
import string
import sys
import unicodedata
from pathlib import Path

# Letters of living scripts stay what they are; Cyrillic and Greek have a table by hand.
KEPT = [
    (0x370, 0x3FF),
    (0x400, 0x45F),
    (0x590, 0x10FF),
    (0x1100, 0x11FF),
    (0x1200, 0x139F),
    (0x1700, 0x1CFF),
    (0x3000, 0x9FFF),
    (0xA840, 0xA95F),
    (0xA980, 0xABFF),
    (0xAC00, 0xDFFF),
    (0xF900, 0xFFFF),
    (0x11000, 0x115FF),
]


def bare(text: str) -> str:
    return "".join(c for c in unicodedata.normalize("NFKD", text) if not unicodedata.combining(c))


def main() -> None:
    source = Path(sys.argv[1]).read_text(encoding="utf-8")
    source = re.sub(r"\s+", " ", source[source.index("mod confusable_detection") :])
    table = {
        chr(int(code, 16)): "".join(chr(int(part, 16)) for part in re.findall(r"\\u\{([0-9a-f]+)\}", prototype))
        for code, prototype in re.findall(r"\(.\\u\{([0-9a-f]+)\}., &\[([^\]]*)\]", source)
    }
    prototype_of = {c: table.get(c, c) for c in string.ascii_letters}
    letters: dict[str, str] = {}
    for c in string.ascii_lowercase + string.ascii_uppercase:
        letters.setdefault(prototype_of[c], c.lower())
    found: dict[str, list[str]] = {}
    for c, prototype in table.items():
        letter = letters.get(prototype) or letters.get(bare(prototype))
        if not letter or ord(c) < 128 or bare(c).isascii() or any(a <= ord(c) <= b for a, b in KEPT):
            continue
        found.setdefault(letter, []).append(c)
    print(
        "//! Characters that look like Latin letters, by letter. Made by `scripts/lookalikes.py`; not edited by hand."
    )
    print("//!")
    print("//! From confusables.txt of Unicode 18.0, (c) Unicode, Inc., Unicode License v3 (SPDX: Unicode-3.0).")
    print()
    print("pub(super) const LOOKALIKES: &[(char, &str)] = &[")
    for letter in sorted(found):
        codes = "".join(f"\\u{{{ord(c):x}}}" for c in sorted(found[letter]))
        rows = re.findall(r"(?:\\u\{[0-9a-f]+\}){1,10}", codes)
        print(f"    ('{letter}', \"" + "\\\n        ".join(rows) + '"),')
    print("];")


main()
