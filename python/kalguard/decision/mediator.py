"""Is the tool call well formed: the tool mediator, and the tools file that it is compiled from.

The order of the checks (denylist, allowlist, argument schema, command denylist) is the core's. What agents registered
(`registration`) is looked up before it. The limits come after it, in `limits`: a call that is refused for its
content is not counted.
"""

import hashlib

import msgspec

from kalguard._core import Arguments, ToolRegistry
from kalguard.decision.documents import decode, encode, validate
from kalguard.decision.model import Inspection
from kalguard.decision.registration import RegisteredTools, Registration
from kalguard.errors import ToolsError


class Tools(msgspec.Struct, frozen=True):
    """The tools in force. `digest` is the SHA-256 of the file as it was read, in hex; empty without a file.

    With a `problem` every call is refused for it.
    """

    registry: ToolRegistry
    digest: str
    problem: str = ""

    @property
    def is_open(self) -> bool:
        """Whether there is no tools file."""
        return not self.digest and not self.problem

    def inspect(self, tool: str, arguments: Arguments, registered: RegisteredTools) -> Inspection:
        """Judge one call."""
        if self.problem:
            return Inspection(objection=self.problem, failed_check="allowlist")
        definition, inspection = registered.find(self.registry, tool)
        if not inspection.passed:
            return inspection
        refusal = self.registry.check(tool, arguments, definition)
        if refusal is None:
            return inspection
        return msgspec.structs.replace(inspection, objection=refusal.reason, failed_check=refusal.check)

    def inspect_definition(self, registration: Registration, registered: RegisteredTools) -> Inspection:
        """Judge what is to be registered. Raises `BadRequest` for a schema that cannot be used."""
        if self.problem:
            return Inspection(objection=self.problem, failed_check="allowlist")
        return registered.inspect(self.registry, registration)


def load_tools(document: bytes) -> Tools:
    """Compile a tools file. Raises `ToolsError`, whose message names the tool and the field."""
    value = decode(document, ToolsError)
    registry = ToolRegistry(encode(value, ToolsError))
    validate(value, "tools", ToolsError)
    return Tools(registry=registry, digest=hashlib.sha256(document).hexdigest())


def any_tool() -> Tools:
    """What is in force without a tools file: the policy alone says which tools exist."""
    return Tools(registry=ToolRegistry(None), digest="")


def no_tool() -> Tools:
    """What is in force when the tools file cannot be used."""
    return Tools(registry=ToolRegistry(b'{"tools": []}'), digest="", problem="tools file cannot be loaded")
