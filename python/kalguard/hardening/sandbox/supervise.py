"""One run of a command: what it is run under, a refusal where something demanded cannot be had, how it ended."""

import base64
import json
import os
import shutil
import sys
import time
from typing import TYPE_CHECKING, Any

from kalguard.errors import SandboxError
from kalguard.hardening.sandbox import view
from kalguard.hardening.sandbox.calls import programs
from kalguard.hardening.sandbox.cancellation import Cancellation
from kalguard.hardening.sandbox.cgroup import ControlGroup
from kalguard.hardening.sandbox.devices import DeviceNodes
from kalguard.hardening.sandbox.process import NotSetUp, Pipes, Process
from kalguard.hardening.sandbox.protections import Protection
from kalguard.hardening.sandbox.result import SandboxResult

if TYPE_CHECKING:
    from kalguard.hardening.sandbox.rules import Sandbox

# Of processes, beside the tool's own: in the namespace its first one, in a control group also bubblewrap outside.
_INSIDE, _IN_ALL = 1, 2
_LANDLOCK_WITH_TRUNCATION = 3


def supervise(rules: "Sandbox", command: list[str], stdin: bytes, cancellation: Cancellation) -> SandboxResult:
    """Run a command under these rules. When this returns or raises, nothing of it is alive. Raises `SandboxError`."""
    try:
        return _Run(rules, command, stdin, cancellation.begin()).result()
    except InterruptedError:
        raise
    except OSError as error:  # such as no descriptors left
        raise SandboxError(f"the sandbox could not be set up: {error.strerror or error}") from None
    finally:
        cancellation.finish()


class _Run:
    def __init__(self, rules: "Sandbox", command: list[str], stdin: bytes, cancel_fd: int) -> None:
        self._rules, self._command, self._stdin, self._cancel_fd = rules, command, stdin, cancel_fd
        read, write = [os.fspath(path) for path in rules.read], [os.fspath(path) for path in rules.write]
        bwrap = shutil.which("bwrap") if rules.bwrap is None else os.fspath(rules.bwrap)
        self._bwrap = None if bwrap is None else os.path.abspath(bwrap)  # it is started in another folder
        self._seen = view.folders(os.fspath(rules.cwd), read, write, self._bwrap)

    def result(self) -> SandboxResult:
        """By bubblewrap; without it only where that is not demanded."""
        if sys.platform == "win32":
            raise SandboxError("tools cannot be run in a sandbox on Windows", missing=tuple(self._rules.required))
        is_demanded = Protection.NAMESPACES in self._rules.required
        if self._bwrap is not None and sys.platform.startswith("linux"):
            try:
                return self._in_group(self._bwrap)
            except NotSetUp as error:
                if is_demanded:
                    raise _refusal({Protection.NAMESPACES: f"bubblewrap: {error}"}) from None
        if is_demanded:
            raise _refusal({Protection.NAMESPACES: "there is no bubblewrap (`bwrap`) on the PATH"})
        view.refuse_read_only_within(self._seen)
        try:
            return self._in_group(None)
        except NotSetUp as error:
            raise SandboxError(f"the sandbox could not be set up: {error}") from None

    def _in_group(self, bwrap: str | None) -> SandboxResult:
        try:
            devices = None if bwrap is None else DeviceNodes()
        except OSError as error:
            raise NotSetUp(error.strerror or str(error)) from None
        try:
            group = ControlGroup(self._rules.memory_bytes, self._rules.processes + _IN_ALL)
            try:
                if bwrap is None or devices is None:
                    return self._run([], group, [])
                return self._run([bwrap, *self._mounts(devices), "--"], group, devices.folders)
            finally:
                group.remove()
        finally:
            if devices is not None:
                devices.remove()

    def _mounts(self, devices: DeviceNodes) -> list[str]:
        rules = self._rules
        return view.mounts(self._seen, devices.arguments, rules.file_size_bytes, network=rules.network)

    def _run(self, before: list[str], group: ControlGroup, removed: list[str]) -> SandboxResult:
        """Run it with the launcher after the command `before`, bubblewrap, if there is one. `removed` goes with it."""
        by_bwrap = bool(before)
        assured = self._assured(by_bwrap=by_bwrap) | group.protections
        launcher, packages = view.launcher(inside=by_bwrap)
        supervisor, _ = view.launcher(inside=False)
        removed = [*group.folders, *removed]

        def command(pipes: Pipes) -> list[str]:
            inner = [*before, *launcher, "launch", str(pipes.config_read), str(pipes.status_write)]
            ends = [str(pipes.report_write), str(pipes.life_read)]
            return [*supervisor, "supervise", *ends, str(os.getpid()), json.dumps(removed), *group.entering(inner)]

        process = Process(command, by_bwrap=by_bwrap)
        with process:
            answer = process.configure(self._config(by_bwrap, packages, assured), self._cancel_fd)
            started = time.monotonic()
            if "missing" in answer:
                raise _refusal({Protection(name): why for name, why in answer["missing"].items()})
            if "error" in answer:
                raise SandboxError(f"`{self._command[0]}` cannot be started: {answer['error']}")
            deadline = started + self._rules.timeout_seconds
            ended = process.wait(self._stdin, self._rules.output_bytes, self._cancel_fd, deadline)
        return SandboxResult(
            exit_code=ended.status if ended.status >= 0 else None,
            signal=-ended.status if ended.status < 0 else None,
            timed_out=ended.timed_out,
            truncated=ended.truncated,
            stdout=ended.stdout,
            stderr=ended.stderr,
            duration_seconds=time.monotonic() - started,
            protections=frozenset(assured | {Protection(name) for name in set(answer["inForce"]) & set(Protection)}),
        )

    def _assured(self, *, by_bwrap: bool) -> set[Protection]:
        """What holds without the launcher's doing."""
        found = {Protection.TIMEOUT, Protection.OUTPUT_LIMIT, Protection.ENVIRONMENT}
        if by_bwrap:
            found |= {Protection.NAMESPACES, Protection.PROCESS_TREE, Protection.NO_NEW_PRIVILEGES}
            found |= set() if self._rules.network else {Protection.NO_NETWORK, Protection.NO_HOST_PEERS}
        return found

    def _config(self, by_bwrap: bool, packages: str, assured: set[Protection]) -> dict[str, Any]:
        """What the launcher is told."""
        rules = self._rules
        found, why_not = _programs(internet=by_bwrap or rules.network, namespaces=by_bwrap)
        no_network = [] if by_bwrap or rules.network else [Protection.NO_NETWORK]
        return {
            "command": self._command,
            "env": dict(rules.env),
            "cwd": self._seen.cwd,
            "packages": packages,
            "required": sorted(rules.required - assured),
            "access": view.access(self._seen, network=rules.network, own_tmp=by_bwrap),
            # Without mounts in the way, files could be emptied against the rules of older versions.
            "leastLandlock": 1 if by_bwrap else _LANDLOCK_WITH_TRUNCATION,
            # Who cannot signal the supervisor cannot keep it from ending all.
            "scopesGive": [Protection.NO_HOST_PEERS, *([] if by_bwrap else [Protection.PROCESS_TREE])],
            "scopes": ["abstract_sockets"] if by_bwrap else ["abstract_sockets", "signals"],
            "programs": found,
            "programsGive": [Protection.SECCOMP, *no_network],
            "lacking": {Protection.SECCOMP: why_not, Protection.NO_NETWORK: why_not},
            "cpuSeconds": rules.cpu_limit_seconds,
            "fileSizeBytes": rules.file_size_bytes,
            "memoryBytes": rules.memory_bytes,
            # Without a user namespace of its own all processes of the user would count.
            "processes": rules.processes + _INSIDE if by_bwrap else None,
        }


def _programs(*, internet: bool, namespaces: bool) -> tuple[list[str], str]:
    """The programs that deny system calls, for JSON; or why there are none."""
    try:
        return [
            base64.b64encode(program).decode() for program in programs(internet=internet, namespaces=namespaces)
        ], ""
    except (ImportError, NotImplementedError, OSError) as error:
        return [], str(error)


def _refusal(missing: dict[Protection, str]) -> SandboxError:
    reasons = "; ".join(f"{name} ({why})" for name, why in sorted(missing.items()))
    return SandboxError(
        f"not run, for want of protections that are required: {reasons}", missing=tuple(sorted(missing))
    )
