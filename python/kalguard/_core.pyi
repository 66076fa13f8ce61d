"""What is done in Rust: scanning prompts, evaluating policies, mediating tool calls, writing the audit log.

Beside that it counts calls in sliding windows, and confines processes.

Compiled objects (`Scanner`, `PolicySet`, `ToolRegistry`) are immutable and may be shared between threads.
Building one may raise; asking one never does for any `str` or `bytes` that Python can hand over
(a `str` with lone surrogates cannot: it raises `UnicodeEncodeError` before the core is entered).
"""

from collections.abc import Sequence
from typing import ClassVar, Literal, Protocol, final

__all__ = [
    "ACTIONS",
    "CATEGORIES",
    "MAX_DEPTH",
    "MAX_METADATA",
    "MAX_TOOL_NAME_LENGTH",
    "Arguments",
    "AuditChain",
    "AuditWriter",
    "Conversation",
    "CounterTable",
    "Evaluation",
    "PanicException",
    "PolicySet",
    "Scan",
    "Scanner",
    "ToolCall",
    "ToolDefinition",
    "ToolRefusal",
    "ToolRegistry",
    "Window",
    "__version__",
    "install_seccomp",
    "landlock_abi",
    "read_definition",
    "restrict_access",
    "seccomp_available",
    "seccomp_program",
    "set_no_new_privs",
]

__version__: str

ACTIONS: tuple[str, ...]
"""What an agent can ask for, as policies name it."""

CATEGORIES: tuple[tuple[str, str], ...]
"""Every category that a finding can have, and what it means."""

MAX_DEPTH: int
"""Objects and lists inside one another in a body, the body itself included."""

MAX_METADATA: int
"""Entries of `context.metadata`."""

MAX_TOOL_NAME_LENGTH: int
"""Characters of the name of a tool that is called."""

class PanicException(BaseException):
    """A panic in Rust. None is known; should there be one, it ends in a denial like any other failure."""

@final
class Arguments:
    """The arguments of a tool call, parsed."""

    def __new__(cls, document: bytes, /) -> Arguments:
        """Parse a JSON object, given as UTF-8; of a key given twice the last value counts.

        Raises `BadRequest` for anything else, and for what is nested deeper than 64 levels.
        """

@final
class Conversation:
    """The body of a prompt check, read: the messages, and every text in them, however it is wrapped."""

    def __new__(cls, body: bytes, /) -> Conversation:
        """Read a body. Raises `BadRequest` naming the field."""
    @property
    def message_count(self) -> int: ...
    @property
    def metadata(self) -> dict[str, str]:
        """What the agent says about the circumstances: texts, and booleans and whole numbers as JSON writes them."""
    @property
    def texts(self) -> list[tuple[int, str, str]]:
        """Every text, as the scanner sees it: `(message index, role, text)`. A role that is not known is `user`."""

@final
class ToolCall:
    """The body of a tool check, read."""

    def __new__(cls, body: bytes, /) -> ToolCall:
        """Read a body. Raises `BadRequest` naming the field."""
    @property
    def name(self) -> str: ...
    @property
    def arguments(self) -> Arguments: ...
    @property
    def argument_count(self) -> int: ...
    @property
    def metadata(self) -> dict[str, str]:
        """As that of a `Conversation`."""

def read_definition(body: bytes, /) -> tuple[str, bytes, str | None]:
    """Read the body of a registration: name, schema as JSON, description. Raises `BadRequest` naming the field.

    Whether they will do is not looked at.
    """

@final
class AuditWriter:
    """Writes audit records from a thread of its own, in the order in which they are handed over.

    `chain` is the name of this writer's chain, `key` the 32 bytes of an Ed25519 key that some lines are signed with,
    `depth` the number of closing braces at the end of a record behind which the chain's members do not stand.
    """

    @staticmethod
    def file(path: str, *, chain: str, key: bytes | None, depth: int, sync: bool) -> AuditWriter:
        """Append to a file. `sync`: force it to disk before its records count as written. Raises `OSError`."""
    @staticmethod
    def stdout(*, chain: str, key: bytes | None, depth: int) -> AuditWriter:
        """Write to standard output. Raises `OSError`."""
    def submit(self, record: bytes, sign: bool, /) -> int:
        """Hand over a record, a JSON object in printable ASCII. Gives its ticket.

        `sign`: whether its line is to be signed. Raises `AuditUnavailable` when too much waits, or after `close`.
        """
    def wake(self) -> None:
        """Write what was handed over."""
    def withdraw(self, through: int, /) -> None:
        """Forget the records up to a ticket that are not being written yet. They get no outcome."""
    def outcomes(self) -> list[tuple[int, int, str | None, float]]:
        """What became of records since the last call: `(last ticket, records, problem, seconds)`, in order.

        No ticket is 0. `problem` is `None` where they were written.
        """
    def fileno(self) -> int:
        """A descriptor that becomes readable when there are outcomes."""
    def is_working(self) -> bool:
        """Whether the next record can be expected to be taken. Looked at once a second when there are none."""
    @property
    def queued(self) -> int:
        """Records that wait."""
    @property
    def unsigned(self) -> int:
        """Lines since the last signed one; 0 without a key."""
    def sync(self) -> None:
        """Force the file to disk. Raises `OSError`. Blocks, but not the writing."""
    def close(self, seconds: float, /) -> bool:
        """Write what waits and end. Gives whether that was done in time."""

@final
class AuditChain:
    """The chain of an `AuditWriter` without the writing."""

    def __new__(cls, *, chain: str, key: bytes | None, depth: int) -> AuditChain: ...
    def seal(self, record: bytes, sign: bool, /) -> bytes:
        """Give the line of the next record. Raises `AuditUnavailable` for what is none."""

@final
class Scanner:
    """The prompt firewall, compiled for one configuration."""

    def __new__(
        cls,
        *,
        block_threshold: int,
        sanitize_threshold: int,
        injection_weight: float,
        harmful_weight: float,
        pii_weight: float,
        abnormality_weight: float,
        check_injection: bool,
        check_content: bool,
        check_pii: bool,
        check_system: bool,
        blocked_phrases: Sequence[str],
        monitor: bool,
        patterns: bytes | None,
        secret: bytes,
    ) -> Scanner:
        """Compile a scanner.

        Thresholds are scores from 0 to 100; weights are factors, 1.0 changes nothing. `blocked_phrases` are
        matched in any case, as written by a person. With `monitor` everything is found and nothing has an effect.
        `patterns` is a patterns file as UTF-8 JSON. `secret`, 16 random bytes that nobody else knows, is what
        messages in which nothing was found are remembered by. Raises `PatternError`, which names the pattern and the
        field, when a phrase or pattern cannot be used or does not do what its examples say.
        """
    def scan(self, conversation: Conversation, agent_id: str, /) -> Scan:
        """Judge all texts of an agent's conversation together.

        A message of this agent in which nothing was found is not read again while it is remembered. That changes no
        answer.
        """
    def explain(
        self, segments: Sequence[tuple[int, str, str]], /
    ) -> tuple[Scan, tuple[tuple[str, str, int, int, int, int], ...]]:
        """Judge texts, and give everything that the answer comes from.

        Each segment is `(message index, role, text)`; a message with several text parts gives several segments
        with one index. Roles are `system`, `developer`, `assistant`, `tool`, `function`, `user`; any other is `user`.

        What it comes from is `(id, category, segment index, start, end, score)`, places in code points of the segment's
        text, end exclusive; a finding about a text as a whole has start and end 0. They lead back to what was said: for
        the person who said it, not for a log.
        """

    def find_in_arguments(self, arguments: Arguments, /) -> tuple[tuple[str, int], ...]:
        """Personal data and secrets in the arguments of a tool call: `(category, score)`, each category once.

        Empty where the scanner does not look for them.
        """

@final
class Scan:
    """What the firewall found, and what follows from it."""

    @property
    def action(self) -> Literal["allow", "sanitize", "block"]: ...
    @property
    def monitored(self) -> Literal["sanitize", "block"] | None:
        """What would follow if nothing were only monitored, where that is more than `action`."""
    @property
    def score(self) -> int:
        """Risk from 0 to 100."""
    @property
    def level(self) -> Literal["low", "medium", "high", "critical"]: ...
    @property
    def findings(self) -> tuple[tuple[str, int, int], ...]:
        """`(category, message index, score)`, one for each category in each message, highest score first."""
    @property
    def texts(self) -> tuple[str | None, ...]:
        """The text to use instead, for each segment; `None` where nothing changed.

        Empty unless `action` is `sanitize`.
        """
    @property
    def sanitized_messages(self) -> bytes | None:
        """The messages with these texts, a JSON list.

        `None` unless `action` is `sanitize`, and where texts were judged that are no messages.
        """

@final
class PolicySet:
    """A policy document, compiled."""

    def __new__(cls, document: bytes, /) -> PolicySet:
        """Compile a policy document, given as UTF-8 JSON. Raises `PolicyError`, which names the rule and the field."""
    @property
    def rule_count(self) -> int: ...
    def evaluate(
        self,
        agent_id: str,
        action: str,
        tool: str | None,
        attributes: dict[str, str],
        call: tuple[Arguments, tuple[str, ...]] | None,
        /,
    ) -> Evaluation:
        """Find the first rule that matches. Total: where none does, the document's default decides.

        `call` is what the tool is to be called with, and the categories of what was found in it.
        """
    def explain(
        self,
        agent_id: str,
        action: str,
        tool: str | None,
        attributes: dict[str, str],
        call: tuple[Arguments, tuple[str, ...]] | None,
        /,
    ) -> tuple[tuple[str, str | None], ...]:
        """Say what became of each rule, in order, up to the one that decided: `(rule id, first condition that failed)`.

        The condition is `agentIds`, `actions`, `tools`, `attributes.<name>`, `arguments.<pointer>` or `findings`;
        `None` where the rule matched.
        """
    def lint(self) -> list[str]:
        """Say what is likely a mistake, one line each: rules that never decide, conditions that never hold."""
    def possible(
        self,
        asked: tuple[str, str, str | None],
        attributes: dict[str, str],
        findings: tuple[str, ...] | None,
        decided: tuple[PolicySet, str | None] | None,
        /,
    ) -> tuple[str, ...]:
        """Say what may be decided about a request of which not everything is on record; one, if that is enough.

        `asked` is `(agent id, action, tool)`. `attributes` are those that are known; there may have been others.
        `findings` are the categories found in the arguments, where they are known. `decided` is the policy that decided
        then and the id of its rule (`None`: its default), from which follows what the request met and what not.
        """

@final
class Evaluation:
    """The answer of a policy, and the rule that gave it."""

    @property
    def decision(self) -> Literal["allow", "deny", "require_approval"]: ...
    @property
    def rule_id(self) -> str | None:
        """`None` where the default decided."""
    @property
    def reason(self) -> str: ...

@final
class ToolRegistry:
    """A tools file, compiled: denylist, declared tools with their argument schemas, command denylist."""

    def __new__(cls, document: bytes | None, /) -> ToolRegistry:
        """Compile a tools file, given as UTF-8 JSON. Raises `ToolsError`, which names the tool and the field.

        Without a document every tool name is let through to the checks that need none (built-in command denylist).
        """
    @property
    def tool_count(self) -> int: ...
    def rate_limit_per_minute(self, tool: str, /) -> int | None:
        """The limit that the file sets for this tool, in calls per agent per minute."""
    @property
    def enforces_formats(self) -> bool:
        """Whether `format` is enforced in schemas, or an annotation as in the standard."""
    @property
    def warnings(self) -> list[str]:
        """What the file's schemas say without effect, each with the tool's name."""
    def forbids(self, tool: str, /) -> bool:
        """Whether the denylist has this name."""
    def declares(self, tool: str, /) -> bool:
        """Whether the file declares this tool."""
    def pin(self, tool: str, /) -> str | None:
        """The digest of the one definition of a registered tool that the operator agreed to."""
    def define(self, argument_schema: bytes, /) -> ToolDefinition:
        """Compile the argument schema of a tool that is registered, given as UTF-8 JSON.

        Raises `ToolsError`, which names the place. The bounds are tighter than for schemas of the operator's.
        """
    def check(self, tool: str, arguments: Arguments, /, registered: ToolDefinition | None = None) -> ToolRefusal | None:
        """Mediate one call. `None`: nothing speaks against it.

        `registered` is what was registered under that name; what the file declares goes before it.
        """

@final
class ToolDefinition:
    """What was registered of a tool, compiled for one tools file."""

@final
class ToolRefusal:
    """Why a tool call was refused. Holds nothing that the agent wrote, not even the tool's name."""

    @property
    def check(self) -> Literal["denylist", "allowlist", "schema", "command"]: ...
    @property
    def reason(self) -> str: ...

# Counting calls: the current second and the 60 before it. `now` is seconds of a clock that never goes back.

class _Limit(Protocol):
    """At most `allowed` calls under `key` in a window."""

    @property
    def key(self) -> tuple[str, ...]: ...
    @property
    def allowed(self) -> int: ...

_Answer = tuple[bool, list[tuple[int, float]]]
"""Whether a call was counted; under each limit what remains, and the seconds until it grows (0.0: nothing counts)."""

@final
class CounterTable:
    """A table of windows, in memory that processes share. Whoever asks holds a lock on it.

    Wherever a process is killed while it asks, what is left is right, or one call too many was counted.
    """

    SLOT_BYTES: ClassVar[int]
    """What one place takes. The memory is made of them, in sets of sixteen; at first it is zeros."""

    def __new__(cls, memory: memoryview, secret: bytes, /) -> CounterTable:
        """Use memory, a view of unsigned 32-bit words that may be written to. Keeps it.

        `secret` is 16 bytes, the same in all processes; keys are known by a hash under it. Raises `BufferError` for a
        view of another kind, `ValueError` for memory or a secret of the wrong size.
        """
    def take(self, limits: Sequence[_Limit], now: float, /) -> _Answer:
        """Count one call under each limit, if all have room. Raises `Unavailable` where no place is left for a key."""
    def count(self, limits: Sequence[_Limit], now: float, /) -> None:
        """Count one call under each limit, whether or not there is room. Raises `Unavailable`, likewise."""

@final
class Window:
    """One window, in the memory of this process."""

    def __new__(cls) -> Window: ...
    def advance(self, now: float, /) -> None:
        """Bring it to this second, which has to be done before it is asked."""
    def is_idle(self, now: float, /) -> bool:
        """Whether nothing that it counted counts any more."""
    def add(self) -> None:
        """Count one call, whether or not there is room."""
    @staticmethod
    def take(windows: Sequence[tuple[Window, int]], now: float, /) -> _Answer:
        """Count one call in each, if all have fewer than are allowed."""

# Confining a process. Off Linux `landlock_abi` is 0, `seccomp_available` is False, and the others raise
# `NotImplementedError`. An argument that makes no sense is a `ValueError`, a refusal of the kernel an `OSError`.

def landlock_abi() -> int:
    """The version of the kernel's Landlock; 0 where it has none, or has it switched off."""

def seccomp_available() -> bool:
    """Whether the kernel has seccomp."""

def set_no_new_privs() -> None:
    """Let nothing that this thread starts gain privileges by set-user-ID or file capabilities. Cannot be undone."""

def restrict_access(
    rules: Sequence[tuple[str, Sequence[Literal["read", "list", "write", "execute", "remove_dirs", "ioctl"]]]],
    *,
    bind: Sequence[int] | None,
    connect: Sequence[int] | None,
    scopes: Sequence[Literal["abstract_sockets", "signals"]],
) -> dict[str, Literal["full", "partial", "none"]]:
    """Deny by Landlock, to the calling thread and what it starts from now on, whatever is not named here.

    `rules` are paths, each with what may be done with it and with all beneath it: `read` files and list folders;
    `list`, folders alone; `write`, which is also making, truncating, renaming and removing; `execute`; `remove_dirs`,
    empty ones; `ioctl` of devices. `bind` and `connect` are the TCP ports that may be used, `None` for any. `scopes`
    are what is denied with processes that are not confined by this call too. Sets `no_new_privs`. Called again, it
    takes away more.

    Returns what is in force: `files`, and of `tcp_bind`, `tcp_connect`, `abstract_sockets`, `signals` those that were
    asked for. An old kernel is no error. Raises `FileNotFoundError` for a path that is not there.
    """

def seccomp_program(
    calls: Sequence[tuple[str, Sequence[tuple[int, int, int]]]],
    *,
    matched: Literal["allow", "kill", "log"] | int,
    otherwise: Literal["allow", "kill", "log"] | int,
    arch: str,
) -> bytes:
    """A seccomp filter, as `install_seccomp` and `bwrap --seccomp` take it, in this machine's byte order.

    `calls` are names with conditions `(index, mask, value)`, which hold where `argument & mask == value`; all of an
    entry must, and several entries of one name are alternatives. `matched` and `otherwise` are what happens: `kill` the
    process, `log`, `allow`, or fail with an errno. `arch` is `x86_64` or `aarch64`; a call for another, x32 included,
    ends the process. Where `otherwise` is `allow`, calls that are too new to be named fail with `ENOSYS`.
    """

def install_seccomp(program: bytes, /) -> None:
    """Install a filter for all threads and what they start. Sets `no_new_privs`. Of several the strictest holds."""
