"""What came of running a command in a sandbox."""

import msgspec

from kalguard.hardening.sandbox.protections import Protection


class SandboxResult(msgspec.Struct, frozen=True, kw_only=True):
    """How a command ended, what it wrote, and what was in force.

    Exactly one of `exit_code` and `signal` (its number) is there. Bubblewrap tells signals as shells do, so that with
    it an exit code from 129 to 192 is a signal here. `timed_out`: it was ended after its time.
    `truncated`: it was ended when it had written more than it may; what it wrote before is there. `duration_seconds`
    is real time, from the start of the command.
    """

    exit_code: int | None
    signal: int | None
    timed_out: bool
    truncated: bool
    stdout: bytes
    stderr: bytes
    duration_seconds: float
    protections: frozenset[Protection]

    @property
    def succeeded(self) -> bool:
        """Whether it ended by itself, with exit code 0."""
        return self.exit_code == 0 and not (self.timed_out or self.truncated)
