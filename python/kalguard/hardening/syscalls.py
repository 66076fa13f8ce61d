"""The system calls of the service, read from `syscalls.toml`: as filters for a process, as a profile for containers.

A call outside the list is answered as by a kernel that does not have it (`ENOSYS`): libraries know what to do then, so
that a newer one which tries something new goes on as on an older kernel, and what an intruder wanted is not done. What
is only ever an attack ends the process instead, and the kernel's log says so.
"""

import tomllib
from collections.abc import Mapping, Sequence
from errno import ENOSYS
from functools import cache
from importlib.resources import files
from typing import Any, Literal

import msgspec

from kalguard._core import seccomp_program

Role = Literal["main", "worker", "runtime"]
"""Who makes a call: the main process, a worker process, or the container runtime before it starts the service."""

ARCHITECTURES = {"x86_64": "SCMP_ARCH_X86_64", "aarch64": "SCMP_ARCH_AARCH64"}
"""The machines that there is a list for: as `platform.machine` says it, and as profiles for containers do."""


class Bound(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A condition on one argument: `argument & mask == value`. `argument` counts from 0."""

    argument: int
    mask: int
    value: int


Alternatives = tuple[tuple[Bound, ...], ...]
"""One of these must hold, all of it. None: the call is made whatever its arguments are."""


class Call(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One system call: why and by whom it is made. A name instead of `True` is that of a condition.

    `arm64` is what is called there instead: `""` for nothing, unset for the same.
    """

    why: str
    main: bool | str = False
    worker: bool | str = False
    runtime: bool = False
    arm64: str | None = None


class Syscalls(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What is in `syscalls.toml`. `network` and `unix` are allowed to workers that have somebody to call that way."""

    conditions: dict[str, Alternatives]
    calls: dict[str, Call]
    network: dict[str, Call]
    unix: dict[str, Call]
    refused: dict[str, str]
    fatal: dict[str, str]


@cache
def syscalls() -> Syscalls:
    """The list."""
    text = files("kalguard.hardening").joinpath("syscalls.toml").read_text(encoding="utf-8")
    return msgspec.convert(tomllib.loads(text), Syscalls)


def allowed(role: Role, arch: str, *, network: bool = True, unix: bool = True) -> dict[str, Alternatives]:
    """The calls that a process may make, by their names on `arch`, with the conditions under which it may."""
    listed = syscalls()
    found: dict[str, Alternatives] = {}
    tables = [listed.calls, *([listed.network] if network else []), *([listed.unix] if unix else [])]
    for name, call in (entry for table in tables for entry in table.items()):
        granted = getattr(call, role)
        if granted is False:
            continue
        there = name if arch != "aarch64" or call.arm64 is None else call.arm64
        conditions = listed.conditions[granted] if isinstance(granted, str) else ()
        if there:
            found[there] = _either(found.get(there), conditions)
    return found


def filters(role: Role, arch: str, *, network: bool, unix: bool) -> list[bytes]:
    """What `install_seccomp` takes, one after the other, for a process in this role."""
    entries = [
        (name, [(bound.argument, bound.mask, bound.value) for bound in conditions])
        for name, alternatives in allowed(role, arch, network=network, unix=unix).items()
        for conditions in (alternatives or ((),))
    ]
    fatal: list[tuple[str, Sequence[tuple[int, int, int]]]] = [(name, ()) for name in syscalls().fatal]
    programs = [seccomp_program(entries, matched="allow", otherwise=ENOSYS, arch=arch)]
    if role == "main":  # which workers inherit
        programs.insert(0, seccomp_program(fatal, matched="kill", otherwise="allow", arch=arch))
    return programs


def oci_profile() -> dict[str, Any]:
    """The profile for Docker, Podman and Kubernetes: what all processes and the runtime need, on both machines."""
    merged: dict[str, Alternatives] = {}
    roles: tuple[Role, ...] = ("main", "worker", "runtime")
    for arch in ARCHITECTURES:
        for role in roles:
            for name, alternatives in allowed(role, arch).items():
                merged[name] = _either(merged.get(name), alternatives)
    free = sorted(name for name, alternatives in merged.items() if not alternatives)
    rules: list[dict[str, Any]] = [{"names": free, "action": "SCMP_ACT_ALLOW"}]
    for name, alternatives in sorted(merged.items()):
        rules += [
            {"names": [name], "action": "SCMP_ACT_ALLOW", "args": [_as_oci(bound) for bound in conditions]}
            for conditions in alternatives
        ]
    return {
        "defaultAction": "SCMP_ACT_ERRNO",
        "defaultErrnoRet": ENOSYS,
        "architectures": list(ARCHITECTURES.values()),
        # An engine that does not know `defaultErrnoRet` (Docker 20.10) says "not permitted" instead, and a C library
        # that is told so for `clone3` does not try `clone`: no thread could be started.
        "syscalls": [*rules, {"names": ["clone3"], "action": "SCMP_ACT_ERRNO", "errnoRet": ENOSYS}],
    }


def _either(one: Alternatives | None, other: Alternatives) -> Alternatives:
    """What is allowed where either is enough; no conditions at all are the widest."""
    if one is None:
        return other
    return () if not one or not other else tuple(dict.fromkeys([*one, *other]))


def _as_oci(bound: Bound) -> Mapping[str, int | str]:
    return {"index": bound.argument, "value": bound.mask, "valueTwo": bound.value, "op": "SCMP_CMP_MASKED_EQ"}
