"""KalGuard: runtime security for AI agents.

What an agent needs is here, `from kalguard import KalGuardClient, with_prompt_check, with_tool_check, Sandbox`, and is
imported when it is first asked for. The server is `kalguard.sidecar`, the commands are `kalguard.cli`.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from kalguard.errors import SandboxError
    from kalguard.hardening.sandbox import FULL_PROTECTION, Protection, Sandbox, SandboxResult
    from kalguard.sdk import (
        AsyncKalGuardClient,
        CheckResult,
        Finding,
        KalGuardClient,
        KalGuardDenied,
        KalGuardError,
        KalGuardUnavailable,
        PlanInfo,
        PromptResult,
        guard_prompt,
        guard_tool,
        with_prompt_check,
        with_tool_check,
    )

__all__ = [
    "FULL_PROTECTION",
    "AsyncKalGuardClient",
    "CheckResult",
    "Finding",
    "KalGuardClient",
    "KalGuardDenied",
    "KalGuardError",
    "KalGuardUnavailable",
    "PlanInfo",
    "PromptResult",
    "Protection",
    "Sandbox",
    "SandboxError",
    "SandboxResult",
    "guard_prompt",
    "guard_tool",
    "with_prompt_check",
    "with_tool_check",
]
# Where a name is, if not in `kalguard.sdk`.
_ELSEWHERE = {
    "FULL_PROTECTION": "kalguard.hardening.sandbox",
    "Protection": "kalguard.hardening.sandbox",
    "Sandbox": "kalguard.hardening.sandbox",
    "SandboxError": "kalguard.errors",
    "SandboxResult": "kalguard.hardening.sandbox",
}


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_ELSEWHERE.get(name, "kalguard.sdk")), name)
