"""Every exception that KalGuard raises on purpose.

What an operator wrote and cannot be used: `ConfigError`, `PolicyError`, `ToolsError`, `PatternError`; their messages
name the variable, rule, tool or field. What ends one check with a refusal: `Refusal` and its subclasses, each with the
code that goes on the wire. `AuditUnavailable`, which turns an answer into a refusal. And what the SDK raises in an
agent: `KalGuardDenied`, `KalGuardUnavailable`, `SandboxError`. `kalguard._core` raises the ones declared here.
"""

from kalguard.wire.codes import ErrorCode


class KalGuardError(Exception):
    """Root of the tree."""


class ConfigError(KalGuardError):
    """The environment cannot be used. `problems` holds one line for each mistake found."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("; ".join(problems))
        self.problems = problems


class PolicyError(KalGuardError):
    """A policy document cannot be used."""


class ToolsError(KalGuardError):
    """A tools file cannot be used."""


class PatternError(KalGuardError):
    """A pattern or phrase of the firewall cannot be used."""


class AuditUnavailable(KalGuardError):
    """A record could not be written. Whatever it was about must be refused."""


class Refusal(KalGuardError):
    """Ends a check with a refusal. `str()` is the message that the caller sees."""

    code: ErrorCode


class BadRequest(Refusal):
    """The body is not what the endpoint takes. The message says which field."""

    code = ErrorCode.BAD_REQUEST


class PayloadTooLarge(Refusal):
    """The body is larger than any check takes."""

    code = ErrorCode.PAYLOAD_TOO_LARGE


class Unavailable(Refusal):
    """Something that the decision needs cannot be had now."""

    code = ErrorCode.UNAVAILABLE


class Overloaded(Unavailable):
    """There is more to do than can be done in time. Asking again soon may help."""


class AuthFailed(Refusal):
    """No token, or none that can be trusted."""

    code = ErrorCode.AUTH_FAILED


class TokenRevoked(Refusal):
    """A good token that has been withdrawn."""

    code = ErrorCode.TOKEN_REVOKED


class KalGuardDenied(KalGuardError):
    """The answer is no: whatever was asked about must not be done.

    `code` is the sidecar's `errorCode` (as text: there may be newer ones), `reason` says why, `risk_score` (0 to 100)
    is there for a prompt that was looked at. `retry_after` (seconds) and `reset_at` (unix seconds) are there where a
    limit is why. `approval_required`: a person may allow it.
    """

    def __init__(
        self,
        code: str,
        reason: str,
        *,
        request_id: str,
        risk_score: int | None = None,
        retry_after: float | None = None,
        reset_at: int | None = None,
    ) -> None:
        super().__init__(f"{reason} ({code}, request {request_id})")
        self.code = code
        self.reason = reason
        self.request_id = request_id
        self.risk_score = risk_score
        self.retry_after = retry_after
        self.reset_at = reset_at

    @property
    def approval_required(self) -> bool:
        """Whether it is for a person to decide."""
        return self.code == ErrorCode.REQUIRE_APPROVAL


class KalGuardUnavailable(KalGuardError):
    """There is no answer that can be trusted. It counts as no, unless the caller wrote `on_unavailable="allow"`."""

    def __init__(self, reason: str, *, request_id: str) -> None:
        super().__init__(f"{reason} (request {request_id})")
        self.reason = reason
        self.request_id = request_id


class SandboxError(KalGuardError):
    """A tool was not run: what was demanded cannot be had. `missing` names the protections of which that is so."""

    def __init__(self, reason: str, *, missing: tuple[str, ...] = ()) -> None:
        super().__init__(reason)
        self.missing = missing
