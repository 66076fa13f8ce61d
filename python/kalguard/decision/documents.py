"""Reads what the operator wrote: policy documents and tools files.

Trusted input, but not to be trusted to be right. Each is validated against a JSON Schema from `kalguard/schemas`,
compiled by fastjsonschema with everything switched off that would fetch a reference or write defaults into the
document. Errors name the place: the rule or tool by its id, then the field.
"""

import importlib.resources
from collections.abc import Callable
from functools import cache
from typing import Any

import fastjsonschema
import msgspec

from kalguard.errors import KalGuardError

MAX_DOCUMENT_BYTES = 16 * 1024 * 1024


def read_document(
    document: bytes,
    *,
    schema: str,
    error: type[KalGuardError],
    name_of: Callable[[Any, list[Any]], str],
) -> dict[str, Any]:
    """Decode and validate. `name_of` says in words where a path leads. Raises `error`."""
    if len(document) > MAX_DOCUMENT_BYTES:
        raise error(f"document is larger than {MAX_DOCUMENT_BYTES} bytes")
    try:
        value = msgspec.json.decode(document)
    except RecursionError:
        raise error("document is nested too deep") from None
    except ValueError as problem:
        raise error(f"document is not JSON: {problem}") from None
    try:
        validator(schema)(value)
    except fastjsonschema.JsonSchemaValueException as problem:
        raise error(f"{name_of(value, list(problem.path[1:]))}: {_what(problem)}") from None
    if not isinstance(value, dict):
        raise error("document must be a JSON object")
    return value


@cache
def schema_text(name: str) -> bytes:
    """The JSON Schema called `name`, as it ships."""
    return importlib.resources.files("kalguard.schemas").joinpath(f"{name}.schema.json").read_bytes()


@cache
def validator(name: str) -> Callable[[Any], Any]:
    """The compiled JSON Schema called `name`: it raises `fastjsonschema.JsonSchemaValueException`."""
    compiled: Callable[[Any], Any] = fastjsonschema.compile(
        msgspec.json.decode(schema_text(name)),
        handlers=dict.fromkeys(("http", "https", "ftp", "file", ""), _refuse_reference),
        use_default=False,
        use_formats=False,
    )
    return compiled


def describe(document: Any, path: list[Any], *, items: str, key: str, noun: str) -> str:
    """Say where `path` leads: "rule `r1` (rules[0]), field `match.tools`"."""
    if len(path) >= 2 and path[0] == items:
        item, rest = document[items][path[1]], path[2:]
        label = item.get(key) if isinstance(item, dict) else None
        where = f"{items}[{path[1]}]"
        place = f"{noun} `{label}` ({where})" if isinstance(label, str) else f"{noun} {where}"
        return f"{place}, field `{_dotted(rest)}`" if rest else place
    return f"field `{_dotted(path)}`" if path else "document"


def _dotted(path: list[Any]) -> str:
    text = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in path)
    return text.removeprefix(".")


def _what(problem: fastjsonschema.JsonSchemaValueException) -> str:
    """The library's sentence without its own name for the place."""
    return str(problem.message.removeprefix(problem.name or "").strip())


def _refuse_reference(uri: str) -> Any:
    raise ValueError(f"references are not followed: `{uri}`")
