"""Optional OpenTelemetry traces: whether they are wanted, and what the routes know of them.

They are wanted where an endpoint is named (OTEL_EXPORTER_OTLP_ENDPOINT or its _TRACES_ variant), in the words of
OpenTelemetry's own specification. Unless they are, nothing of OpenTelemetry is imported; what needs it is in `otlp`.
"""

from collections.abc import Iterable, Mapping
from importlib.util import find_spec
from typing import Protocol
from urllib.parse import urlsplit

from kalguard.decision.model import Verdict
from kalguard.errors import ConfigError

_TRACES_ENDPOINT = "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"
_ENDPOINT = "OTEL_EXPORTER_OTLP_ENDPOINT"
_PROTOCOLS = ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL")
_SPOKEN = "http/protobuf"
_NEEDED = ("opentelemetry.sdk.trace", "opentelemetry.exporter.otlp.proto.http.trace_exporter")


class CheckTrace(Protocol):
    """One check that is traced, from the time that this was made."""

    def judging(self) -> None:
        """The body is here: what follows is the decision, until the time that the verdict bears."""

    def ended(self, verdict: Verdict, status: int) -> None:
        """The reply, with this status, is ready."""


class Traces(Protocol):
    """Traces of checks."""

    def begin(self, headers: Iterable[tuple[bytes, bytes]]) -> CheckTrace:
        """A check begins, as part of the trace that the head of the request names, if it names one."""

    async def close(self) -> None:
        """Send what waits, for as long as is decent."""


def are_wanted(environ: Mapping[str, str]) -> bool:
    """Whether the environment asks for traces."""
    if environ.get("OTEL_SDK_DISABLED", "").strip().lower() == "true":
        return False
    if environ.get("OTEL_TRACES_EXPORTER", "").strip().lower() == "none":
        return False
    return any(environ.get(name) for name in (_TRACES_ENDPOINT, _ENDPOINT))


def check(environ: Mapping[str, str]) -> None:
    """See that what is asked for can be done. Raises `ConfigError` naming the variable."""
    if not are_wanted(environ):
        return
    variable = _TRACES_ENDPOINT if environ.get(_TRACES_ENDPOINT) else _ENDPOINT
    if not _is_url(environ[variable]):  # not shown: there may be a password in it
        raise ConfigError([f"{variable}: the value given is not an http or https URL"])
    for name in _PROTOCOLS:
        protocol = environ.get(name)
        if protocol:
            if protocol != _SPOKEN:
                raise ConfigError([f"{name}: `{protocol}` is not spoken; expected `{_SPOKEN}`"])
            break
    if not all(map(_is_installed, _NEEDED)):
        raise ConfigError([f"{variable}: traces need OpenTelemetry, which is not installed: install `kalguard[otel]`"])
    from kalguard.sidecar.otlp import check_variables

    check_variables()


def start(environ: Mapping[str, str]) -> Traces | None:
    """Traces for this process, if they are wanted."""
    if not are_wanted(environ):
        return None
    from kalguard.sidecar.otlp import OtlpTraces

    return OtlpTraces()


def _is_url(value: str) -> bool:
    try:
        parts = urlsplit(value)
        return parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        return False


def _is_installed(module: str) -> bool:
    try:
        return find_spec(module) is not None
    except ImportError:
        return False
