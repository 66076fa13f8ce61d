"""Tools that agents register: what holds of them, and what becomes of one whose definition changes.

The first definition of a tool is in force. When somebody registers another one under the same name, the tool is
refused from then on (`CHANGED`), until the operator agrees to one of the definitions: a pin in the tools file names its
digest, and the definition with that digest is in force, whichever came first. What the tools file itself declares
goes before anything that is registered. Where registrations are kept is the business of `kalguard.toolstore`.
"""

import asyncio
import hashlib
import re
from collections.abc import Sequence
from contextlib import suppress
from threading import Lock
from typing import Any, Protocol, Self

import msgspec

from kalguard._core import ToolDefinition, ToolRegistry, read_definition
from kalguard.decision.model import Inspection
from kalguard.errors import BadRequest, KalGuardError, ToolsError, Unavailable

MAX_TOOLS = 1000  # of all agents
MAX_TOOLS_PER_AGENT = 100
MAX_DEFINITIONS = 3  # of one tool: the first, and refused changes; those that the operator pins come on top
MAX_DESCRIPTION_BYTES = 4 * 1024
REGISTERED_NAME = r"[A-Za-z0-9_.:/-]{1,128}"
MAX_TOTAL_BYTES = 16 * 1024 * 1024  # of all first definitions
CHANGED = "tool definition changed"
_MAX_COMPILED = 256  # that are kept in compiled form, of up to 2 MB each; others are compiled when they are called
_ENCODER = msgspec.json.Encoder(order="sorted")
_REGISTERED_NAME = re.compile(REGISTERED_NAME)


class Registration(msgspec.Struct, frozen=True):
    """What an agent said about a tool. `argument_schema` is JSON as UTF-8, `digest` that of the whole definition."""

    tool: str
    agent_id: str
    digest: str
    argument_schema: bytes


class Definition(msgspec.Struct, frozen=True):
    """What is said about a tool. `argument_schema` is JSON-compatible."""

    tool: str
    description: str | None
    argument_schema: dict[str, Any]

    @classmethod
    def read(cls, body: bytes) -> Self:
        """Read the body of a registration. Raises `BadRequest`."""
        name, argument_schema, description = read_definition(body)
        if not _REGISTERED_NAME.fullmatch(name):
            raise BadRequest("`toolName` must have 1 to 128 characters of A-Za-z0-9_.:/-")
        if description is not None and len(description.encode()) > MAX_DESCRIPTION_BYTES:
            raise BadRequest(f"`description` is larger than {MAX_DESCRIPTION_BYTES} bytes")
        return cls(name, description or None, msgspec.json.decode(argument_schema))

    @property
    def digest(self) -> str:
        """`sha256:` and the SHA-256 in hex of the definition as JSON: keys sorted, no white space, UTF-8.

        Its keys are `argumentSchema` and, if there is one, `description`.
        """
        definition: dict[str, Any] = {"argumentSchema": self.argument_schema}
        if self.description is not None:
            definition["description"] = self.description
        return f"sha256:{hashlib.sha256(_ENCODER.encode(definition)).hexdigest()}"

    def by(self, agent_id: str) -> Registration:
        """The definition as that agent's."""
        return Registration(self.tool, agent_id, self.digest, _ENCODER.encode(self.argument_schema))


class TooManyTools(KalGuardError):
    """There is no room for one more tool."""


class Registrations(Protocol):
    """Keeps registrations for everybody who has to know them, in the order in which they were made."""

    @property
    def sees_all(self) -> bool:
        """Whether what others register is known at once, without `look`."""

    @property
    def has_looked(self) -> bool:
        """Whether what others registered was taken up at least once."""

    def of(self, tool: str) -> Sequence[Registration]:
        """The registrations of a tool, as far as they are known here, the first one first, each with another digest."""

    async def look(self) -> None:
        """Take up what others registered before this call. Raises `Unavailable`."""

    async def add(self, registration: Registration, *, pinned: bool) -> Sequence[Registration]:
        """Keep a registration unless its digest is known, or the tool has `MAX_DEFINITIONS` and it is not `pinned`.

        Finding out and keeping are one step for everybody. Gives the registrations of the tool afterwards. Raises
        `TooManyTools` when it would be the first of a tool for which there is no room, and `Unavailable` when it
        cannot be kept.
        """


class RegisteredTools:
    """What is registered, seen by those who decide. May be asked by several threads."""

    def __init__(self, registrations: Registrations) -> None:
        self._registrations = registrations
        self._compiled: dict[tuple[str, bool], ToolDefinition] = {}
        self._compiling = Lock()

    def find(self, registry: ToolRegistry, tool: str) -> tuple[ToolDefinition | None, Inspection]:
        """What is registered of a tool, if it may be called; else the inspection objects."""
        if registry.declares(tool):
            return None, Inspection()
        known = self._registrations.of(tool)
        if not known:
            return None, Inspection()
        chosen = _in_force(known, registry.pin(tool))
        if chosen is None:
            return None, _changed(known, registry.pin(tool), offered=known[-1].digest)
        try:
            definition = self._compile(registry, chosen)
        except ToolsError:  # `format` is enforced since it was registered, and it has an unknown one
            return None, Inspection(objection="tool definition cannot be used", failed_check="definition")
        return definition, Inspection(definition_digest=chosen.digest)

    def is_ready(self, registry: ToolRegistry, tool: str) -> bool:
        """Whether all is known of a tool that `find` needs, and compiled. If not, `prepare` comes first."""
        if registry.declares(tool):
            return True
        known = self._registrations.of(tool)
        if not known:
            return self._registrations.sees_all
        chosen = _in_force(known, registry.pin(tool))
        return chosen is None or (chosen.digest, registry.enforces_formats) in self._compiled

    async def prepare(self, registry: ToolRegistry, tool: str, *, is_open: bool) -> None:
        """Take up what others registered, and compile it where nobody waits. Raises `Unavailable`.

        Where the policy alone says which tools exist (`is_open`), what cannot be looked up any more is taken for not
        registered, as it was when it could be: only a worker that never could has nothing to go by.
        """
        known = self._registrations.of(tool)
        if not known:
            try:
                await self._registrations.look()
            except Unavailable:
                if not (is_open and self._registrations.has_looked):
                    raise
            known = self._registrations.of(tool)
        chosen = _in_force(known, registry.pin(tool))
        if chosen is not None:
            with suppress(ToolsError):  # `find` will say so
                await asyncio.to_thread(self._compile, registry, chosen)

    def inspect(self, registry: ToolRegistry, registration: Registration) -> Inspection:
        """What the operator has against a registration. Raises `BadRequest` for a schema that cannot be used."""
        if registry.forbids(registration.tool):
            return Inspection(objection="tool is on the denylist", failed_check="denylist")
        if registry.declares(registration.tool):
            return Inspection(objection="tool is defined by the operator", failed_check="definition")
        try:
            registry.define(registration.argument_schema)
        except ToolsError as error:
            raise BadRequest(str(error)) from None
        return Inspection(definition_digest=registration.digest)

    async def keep(self, registry: ToolRegistry, registration: Registration) -> tuple[bool, Inspection]:
        """Register what was inspected. Says whether it is new. Raises `Unavailable`."""
        pin = registry.pin(registration.tool)
        await self._registrations.look()
        before = self._registrations.of(registration.tool)
        try:
            known = await self._registrations.add(registration, pinned=registration.digest == pin)
        except TooManyTools as error:
            return False, Inspection(objection=str(error), failed_check="room")
        if not known:
            raise Unavailable("tool cannot be registered: what was kept is gone")
        chosen = _in_force(known, pin)
        if chosen is None or chosen.digest != registration.digest:
            return False, _changed(known, pin, offered=registration.digest)
        return len(known) > len(before), Inspection(definition_digest=registration.digest)

    def _compile(self, registry: ToolRegistry, registration: Registration) -> ToolDefinition:
        key = (registration.digest, registry.enforces_formats)
        definition = self._compiled.get(key)
        if definition is None:
            definition = registry.define(registration.argument_schema)
            with self._compiling:
                self._compiled[key] = definition
                if len(self._compiled) > _MAX_COMPILED:
                    del self._compiled[next(iter(self._compiled))]
        return definition


def _in_force(known: Sequence[Registration], pin: str | None) -> Registration | None:
    if pin is not None:
        return next((registration for registration in known if registration.digest == pin), None)
    return known[0] if len(known) == 1 else None


def _changed(known: Sequence[Registration], pin: str | None, *, offered: str) -> Inspection:
    return Inspection(
        objection=CHANGED, failed_check="definition", definition_digest=offered, agreed_digest=pin or known[0].digest
    )
