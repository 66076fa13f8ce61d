"""In the agent's hands: asks the sidecar before a model is called or a tool is run. Needs neither core nor server."""

from kalguard.errors import KalGuardDenied, KalGuardError, KalGuardUnavailable
from kalguard.sdk.client import AsyncKalGuardClient, KalGuardClient
from kalguard.sdk.guards import guard_prompt, guard_tool, with_prompt_check, with_tool_check
from kalguard.sdk.replies import CheckResult, Finding, PlanInfo, PromptResult

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
