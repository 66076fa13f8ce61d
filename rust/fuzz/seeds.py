"""Writes a small corpus for the fuzz targets from the vectors and the catalogue: `python3 rust/fuzz/seeds.py`."""

import json
from pathlib import Path
from typing import Any

FUZZ = Path(__file__).parent
ROOT = FUZZ.parent.parent
VECTORS = ("firewall", "pii", "model")
NEXT_MESSAGE, NEXT_PART = "\x1e", "\x1f"


def main() -> None:
    vectors = {
        name: json.loads((ROOT / f"tests/vectors/{name}.json").read_text()) for name in ("firewall", "pii", "model")
    }
    texts = [case["text"] for name in ("pii", "model") for case in vectors[name]]
    spoken = [_conversation(case["messages"]) for case in vectors["firewall"]]
    patterns, files = [], []
    for path in sorted((ROOT / "rust/core/src/patterns/catalogue").glob("*.json")):
        document = json.loads(path.read_text())
        for pattern in document["patterns"]:
            patterns.append(pattern)
            files.append(_as_operators(pattern, document.get("lists", {})))
    examples = [example for pattern in patterns for example in pattern["matches"] + pattern["not"]]
    said = [f"u{text}" for text in texts] + spoken + [f"t{text}" for text in examples]
    said += [NEXT_MESSAGE.join(said[at : at + 4]) for at in range(0, len(said), 4)]
    _write("prepare", texts + examples)
    _write("scan", said)
    _write("redact", said)
    _write("patterns", files[::8])  # each costs the compilation of the catalogue


def _conversation(messages: list[dict[str, Any]]) -> str:
    spoken = []
    for message in messages:
        content = message.get("content") or ""
        parts = [content] if isinstance(content, str) else [part.get("text", "") for part in content]
        spoken.append(message["role"][0] + NEXT_PART.join(parts))
    return NEXT_MESSAGE.join(spoken)


def _as_operators(pattern: dict[str, Any], lists: dict[str, list[str]]) -> str:
    """The pattern as an operator would write it: an id of its own, and only the lists that it names."""
    own = {key: value for key, value in pattern.items() if key != "needles"} | {"id": f"own.{pattern['score']}"}
    named = {name: words for name, words in lists.items() if f"${name}" in pattern.get("phrase", "")}
    return json.dumps({"patterns": [own], "lists": named, "modes": {"harmful": "monitor"}, "allow": ["hi there"]})


def _write(target: str, inputs: list[str]) -> None:
    folder = FUZZ / "corpus" / target
    folder.mkdir(parents=True, exist_ok=True)
    for number, text in enumerate(inputs):
        (folder / f"seed-{number:03}").write_bytes(text.encode())
    print(f"{len(inputs)} seeds for {target}")


if __name__ == "__main__":
    main()
