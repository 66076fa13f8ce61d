"""Runs a tool as a command that can do little harm. In the agent's process; needs the extension, not the server.

The path of a run: `rules.py` (what is asked for) -> `supervise.py` (starts it, reads it, ends it) -> the
supervisor in `launch.py` -> bubblewrap with the arguments of `view.py`, where there is one -> the launcher in
`launch.py`, inside, which takes the last rights away and becomes the command.

INVARIANT: the command starts only when all that is demanded is in force, and nothing of it is alive when a run returns.

Rejected: a `preexec_fn` (not safe in a process with threads, which agents have); Landlock before bubblewrap (it forbids
mounts); `bwrap --seccomp` (a second path of what has to hold without bubblewrap too); to go on without what is missing.
"""

from kalguard.hardening.sandbox.protections import FULL_PROTECTION, Protection
from kalguard.hardening.sandbox.result import SandboxResult
from kalguard.hardening.sandbox.rules import Sandbox

__all__ = ["FULL_PROTECTION", "Protection", "Sandbox", "SandboxResult"]
