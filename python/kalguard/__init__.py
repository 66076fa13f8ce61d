"""KalGuard: runtime security for AI agents.

What an agent needs is here, `from kalguard import KalGuardClient, with_prompt_check, with_tool_check`, and is imported
when it is first asked for. The server is `kalguard.sidecar`, the commands are `kalguard.cli`.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
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
    "AsyncKalGuardClient",
    "CheckResult",
    "Finding",
    "KalGuardClient",
    "KalGuardDenied",
    "KalGuardError",
    "KalGuardUnavailable",
    "PlanInfo",
    "PromptResult",
    "guard_prompt",
    "guard_tool",
    "with_prompt_check",
    "with_tool_check",
]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from kalguard import sdk

    return getattr(sdk, name)
