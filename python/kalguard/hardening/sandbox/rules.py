"""What a sandbox lets a tool do, as the agent's author wrote it down; all mistakes are told together."""

import math
import os
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import suppress

import anyio
import msgspec
from anyio import to_thread

from kalguard.errors import ConfigError
from kalguard.hardening.sandbox.cancellation import Cancellation
from kalguard.hardening.sandbox.protections import FULL_PROTECTION, Protection
from kalguard.hardening.sandbox.result import SandboxResult
from kalguard.hardening.sandbox.supervise import supervise

_MIB = 1024**2
_AnyPath = str | os.PathLike[str]
_MOST = 2**62  # what the kernel's limits can hold, with room
_MOST_SECONDS = 10_000_000


class Sandbox(msgspec.Struct, frozen=True, kw_only=True):
    """Rules that commands are run under. Nothing is allowed that is not said here.

    `cwd` is where a command runs; it can read it, and write to it if it is beneath a folder in `write`. `read` and
    `write` are further files and folders; links in these paths are followed, and the tool sees them where they lead to.
    `env` holds the only variables it has. `network` lets it use the machine's network as the agent can.

    `timeout_seconds` is real time from the start of the command; `cpu_seconds` is per process, unless given the timeout
    rounded up.
    `memory_bytes` is address space per process, and memory for all together where there is a control group.
    `processes` counts threads too. `file_size_bytes` is for each file, for /tmp and for /dev/shm. `output_bytes` is for
    standard output and standard error each: who writes more is ended.

    `require` names the protections without which nothing is run. `bwrap` is the path of bubblewrap, unless given that
    of the `PATH`. Raises `ConfigError` for values that cannot be.
    """

    cwd: _AnyPath
    env: Mapping[str, str] = {}
    read: Sequence[_AnyPath] = ()
    write: Sequence[_AnyPath] = ()
    network: bool = False
    timeout_seconds: float = 10
    output_bytes: int = _MIB
    memory_bytes: int = 512 * _MIB
    processes: int = 64
    file_size_bytes: int = 64 * _MIB
    cpu_seconds: int | None = None
    require: Collection[Protection | str] = FULL_PROTECTION
    bwrap: _AnyPath | None = None

    def __post_init__(self) -> None:
        if problems := list(_problems(self)):
            raise ConfigError(problems)

    @property
    def required(self) -> frozenset[Protection]:
        """What has to be in force: with `network` its absence is none of it."""
        required = frozenset(Protection(name) for name in self.require)
        return required - {Protection.NO_NETWORK} if self.network else required

    @property
    def cpu_limit_seconds(self) -> int:
        """Seconds of computing for each process."""
        return self.cpu_seconds or math.ceil(self.timeout_seconds)

    def run(self, command: Sequence[str], *, stdin: bytes = b"") -> SandboxResult:
        """Run a command and wait for its end. What it reads from its standard input is `stdin`.

        A command without a slash is looked for on the `PATH` of `env`, or in /usr/bin and /bin. Raises `SandboxError`
        where it was not run: something demanded cannot be had, a folder is not there, there is no such command.
        """
        return supervise(self, _checked(command, stdin), stdin, Cancellation())

    async def run_async(self, command: Sequence[str], *, stdin: bytes = b"") -> SandboxResult:
        """The same for asyncio and Trio. Cancelled, it ends the tool with all that it started before it returns."""
        checked, cancellation = _checked(command, stdin), Cancellation()
        # A limiter of its own each time: tools that take long must not hold up what else the agent does in threads.
        limiter = anyio.CapacityLimiter(1)
        try:
            return await to_thread.run_sync(
                supervise, self, checked, stdin, cancellation, abandon_on_cancel=True, limiter=limiter
            )
        except anyio.get_cancelled_exc_class():
            cancellation.set()
            while not cancellation.finished.is_set():  # no shield holds off a second `cancel` of asyncio's own
                with suppress(anyio.get_cancelled_exc_class()), anyio.CancelScope(shield=True):
                    await to_thread.run_sync(cancellation.finished.wait, limiter=anyio.CapacityLimiter(1))
            raise


def _checked(command: Sequence[str], stdin: bytes) -> list[str]:
    """The command as a list. Raises `ConfigError`."""
    if not isinstance(stdin, bytes):
        raise ConfigError(["stdin: give bytes"])
    if isinstance(command, str | bytes) or not command or not all(isinstance(part, str) for part in command):
        raise ConfigError(["command: give the program and its arguments as a list of texts"])
    if not command[0] or not all(map(_can_be_handed_on, command)):
        raise ConfigError(["command: no program, or an argument with a NUL or half a character (a lone surrogate)"])
    return list(command)


def _problems(rules: Sandbox) -> Iterator[str]:
    """What cannot be, each with its field."""
    yield from _problems_of_numbers(rules)
    for name in ("cwd", "bwrap"):
        value = getattr(rules, name)
        if not (isinstance(value, str | os.PathLike) or (name == "bwrap" and value is None)):
            yield f"{name}: `{value!r}` is not a path"
    for name in ("read", "write"):
        value = getattr(rules, name)
        if isinstance(value, str | bytes) or not isinstance(value, Sequence):
            yield f"{name}: give a list of paths"
        elif not all(isinstance(path, str | os.PathLike) for path in value):
            yield f"{name}: holds something that is not a path"
    if not isinstance(rules.network, bool):
        yield f"network: `{rules.network!r}` is neither true nor false"
    yield from _problems_of_variables(rules.env)
    if isinstance(rules.require, str) or not isinstance(rules.require, Collection):
        yield "require: give a list of protections"
        return
    for name in rules.require:
        if not isinstance(name, str) or name not in set(Protection):
            yield f"require: there is no protection `{name}`"


def _problems_of_numbers(rules: Sandbox) -> Iterator[str]:
    for name in ("output_bytes", "memory_bytes", "processes", "file_size_bytes"):
        value = getattr(rules, name)
        if not (_is_whole(value) and 0 < value <= _MOST):
            yield f"{name}: `{value}` is not a whole number from 1 to {_MOST}"
    if rules.cpu_seconds is not None and not (_is_whole(rules.cpu_seconds) and 0 < rules.cpu_seconds <= _MOST_SECONDS):
        yield f"cpu_seconds: `{rules.cpu_seconds}` is not a whole number from 1 to {_MOST_SECONDS}"
    timeout = rules.timeout_seconds
    if isinstance(timeout, bool) or not isinstance(timeout, int | float) or not 0 < timeout <= _MOST_SECONDS:
        yield f"timeout_seconds: `{timeout}` is not a number of seconds above 0 and up to {_MOST_SECONDS}"


def _problems_of_variables(env: object) -> Iterator[str]:
    if not isinstance(env, Mapping):
        yield "env: give names with their values"
        return
    for name, value in env.items():
        are_texts = isinstance(name, str) and isinstance(value, str)
        if not are_texts or not name or "=" in name or not _can_be_handed_on(name) or not _can_be_handed_on(value):
            yield f"env: `{name}` cannot be a variable"


def _can_be_handed_on(text: str) -> bool:
    """Whether the kernel can take it as an argument or a variable."""
    try:
        return b"\0" not in os.fsencode(text)
    except UnicodeEncodeError:
        return False


def _is_whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)
