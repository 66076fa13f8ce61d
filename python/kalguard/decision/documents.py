"""Reads what the operator wrote: policy documents and tools files.

Trusted input, but not to be trusted to be right. Both are checked twice, by the core, which compiles them and tells
all mistakes with their places, and against the JSON Schema in `kalguard/schemas` that editors use too, so that neither
can drift from the other unnoticed. fastjsonschema is run with everything switched off that would fetch a reference
or write defaults into the document.
"""

import importlib.resources
from collections.abc import Callable
from functools import cache
from typing import Any

import fastjsonschema
import msgspec

from kalguard.errors import KalGuardError

MAX_DOCUMENT_BYTES = 16 * 1024 * 1024


def decode(document: bytes, error: type[KalGuardError]) -> Any:
    """Read JSON. Of a key given twice the last one counts. Raises `error`."""
    if len(document) > MAX_DOCUMENT_BYTES:
        raise error(f"document is larger than {MAX_DOCUMENT_BYTES} bytes")
    try:
        return msgspec.json.decode(document)
    except RecursionError:
        raise error("document is nested too deep") from None
    except ValueError as problem:
        raise error(f"document is not JSON: {problem}") from None


def encode(value: Any, error: type[KalGuardError]) -> bytes:
    """Write what `decode` gave, for the core: what it compiles is then what was validated. Raises `error`."""
    try:
        return msgspec.json.encode(value)
    except RecursionError:
        raise error("document is nested too deep") from None


def validate(value: Any, schema: str, error: type[KalGuardError]) -> None:
    """Compare with the JSON Schema called `schema`. Raises `error`, naming the place."""
    try:
        validator(schema)(value)
    except fastjsonschema.JsonSchemaValueException as problem:
        raise error(problem.message.replace("data", "document", 1)) from None


@cache
def validator(name: str) -> Callable[[Any], Any]:
    """The compiled JSON Schema called `name`: it raises `fastjsonschema.JsonSchemaValueException`."""
    text = importlib.resources.files("kalguard.schemas").joinpath(f"{name}.schema.json").read_bytes()
    compiled: Callable[[Any], Any] = fastjsonschema.compile(
        msgspec.json.decode(text),
        handlers=dict.fromkeys(("http", "https", "ftp", "file", ""), _refuse_reference),
        use_default=False,
        use_formats=False,
    )
    return compiled


def _refuse_reference(uri: str) -> Any:
    raise ValueError(f"references are not followed: `{uri}`")
