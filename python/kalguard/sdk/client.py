"""Asks the sidecar: `KalGuardClient`, and `AsyncKalGuardClient` for asyncio and trio.

Both ask in the same way. A check returns only if what was asked about may be done; a no is raised as `KalGuardDenied`,
and so nobody can overlook it; no answer is raised as `KalGuardUnavailable`. Asked again, within the time there is, is
only where nothing can have been decided (no connection) or the sidecar says when (429 and 503 with `retry-after`).
"""

import json
import os
import random
import secrets
import time
from collections.abc import Callable, Mapping, Sequence
from types import TracebackType
from typing import Any, Literal
from urllib.parse import urlsplit

import anyio
import httpx
import msgspec

from kalguard.errors import ConfigError, KalGuardDenied, KalGuardUnavailable
from kalguard.sdk.deadline import DeadlineTransport, ending_in
from kalguard.sdk.replies import (
    MAX_REPLY_BYTES,
    REQUEST_ID_HEADER,
    Answer,
    CheckResult,
    PlanInfo,
    PromptResult,
    plan_info,
    read_prompt,
    read_tool,
)
from kalguard.version import VERSION

DEFAULT_URL = "http://localhost:9292"
TIMEOUT_SECONDS = 2.0
CONNECT_SECONDS = 0.5
RETRIES = 2
_FIRST_PAUSE_SECONDS = 0.05
OnUnavailable = Literal["deny", "allow"]
Token = str | Callable[[], str]


class _Failure(msgspec.Struct, frozen=True):
    """No answer. `nothing_sent`: the sidecar cannot have seen the request."""

    reason: str
    nothing_sent: bool = False


class _Ask(msgspec.Struct, frozen=True):
    """One check, to be sent once or more often."""

    path: str
    body: bytes
    request_id: str


class _Settings:
    """What both clients are made with."""

    def __init__(
        self,
        base_url: str | None,
        token: Token | None,
        *,
        timeout_seconds: float,
        connect_seconds: float,
        retries: int,
        on_unavailable: OnUnavailable,
    ) -> None:
        self.base_url = _url(base_url or os.environ.get("KALGUARD_SIDECAR_URL") or DEFAULT_URL)
        self._token = token or os.environ.get("KALGUARD_AGENT_TOKEN") or ""
        if not self._token:
            raise ConfigError(["KALGUARD_AGENT_TOKEN: is unset, and no token is given"])
        if on_unavailable not in ("deny", "allow"):
            raise ConfigError([f'on_unavailable: `{on_unavailable}` is not "deny" or "allow"'])
        if not (timeout_seconds > 0 and connect_seconds > 0 and retries >= 0):
            raise ConfigError(["timeout_seconds, connect_seconds: must be more than 0; retries: must not be less"])
        self.timeout_seconds = timeout_seconds
        self.timeout = httpx.Timeout(timeout_seconds, connect=min(connect_seconds, timeout_seconds))
        self.retries = retries
        self.on_unavailable = on_unavailable

    def headers(self, request_id: str) -> dict[str, str]:
        """The head of a request. Raises `KalGuardDenied` for a token that none can be."""
        token = self._token() if callable(self._token) else self._token
        if not (token.isascii() and token.isprintable() and token and " " not in token):
            raise KalGuardDenied("AUTH_FAILED", "the token given is not one", request_id=request_id)
        return {
            "authorization": f"Bearer {token}",
            "content-type": "application/json",
            "accept": "application/json",
            "accept-encoding": "identity",
            "user-agent": f"kalguard-python/{VERSION}",
            REQUEST_ID_HEADER: request_id,
        }

    def pause(self, answer: Answer | _Failure, tried: int, left: float) -> float | None:
        """Seconds after which to ask again; `None` if what there is has to do."""
        if tried > self.retries:
            return None
        if isinstance(answer, _Failure):
            seconds = random.uniform(0.5, 1) * _FIRST_PAUSE_SECONDS * 2 ** (tried - 1)  # noqa: S311 - no secret
            return seconds if answer.nothing_sent and seconds < left else None
        if answer.status not in (429, 503) or answer.retry_after is None:
            return None
        return answer.retry_after if answer.retry_after < left else None

    def answered(self, answer: Answer | _Failure, request_id: str) -> Answer:
        """The answer, if there is one. Raises `KalGuardUnavailable`."""
        if isinstance(answer, _Failure):
            raise KalGuardUnavailable(answer.reason, request_id=request_id)
        return answer

    def unchecked(self, error: KalGuardUnavailable) -> CheckResult:
        """What it comes to when nobody can be asked. Raises the error itself unless the caller wanted otherwise."""
        if self.on_unavailable != "allow":
            raise error
        return CheckResult(request_id=error.request_id, reason=error.reason, is_unchecked=True)


class KalGuardClient:
    """The sidecar at `base_url` (or `KALGUARD_SIDECAR_URL`, `http://localhost:9292`), asked by the agent of `token`.

    `token` (or `KALGUARD_AGENT_TOKEN`) may be a function that gives the one of now. A check takes at most
    `timeout_seconds`, all tries together. `on_unavailable="allow"` lets everything pass while the sidecar gives no
    usable answer; it never turns a no into a yes. `transport` is what httpx sends by. Can be used from several threads.
    Raises `ConfigError` for what cannot be used.
    """

    def __init__(
        self,
        base_url: str | None = None,
        token: Token | None = None,
        *,
        timeout_seconds: float = TIMEOUT_SECONDS,
        connect_seconds: float = CONNECT_SECONDS,
        retries: int = RETRIES,
        on_unavailable: OnUnavailable = "deny",
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        self._settings = _Settings(
            base_url,
            token,
            timeout_seconds=timeout_seconds,
            connect_seconds=connect_seconds,
            retries=retries,
            on_unavailable=on_unavailable,
        )
        self._http = httpx.Client(
            base_url=self._settings.base_url,
            timeout=self._settings.timeout,
            follow_redirects=False,
            trust_env=False,
            transport=transport or DeadlineTransport(httpx.create_ssl_context()),
        )
        self._plan: PlanInfo | None = None

    @property
    def plan_info(self) -> PlanInfo | None:
        """The plan, as the last reply told it; `None` without KalGuard Cloud."""
        return self._plan

    def check_prompt(
        self, messages: Sequence[Mapping[str, Any]], *, metadata: Mapping[str, Any] | None = None
    ) -> PromptResult:
        """Ask before a model is called. Send the messages of the result.

        `metadata` is for the policy. Raises `KalGuardDenied` and `KalGuardUnavailable`.
        """
        sent = _messages(messages)
        ask = _ask("/v1/prompt/check", {"messages": sent}, metadata)
        try:
            return read_prompt(self._send(ask), ask.request_id, sent)
        except KalGuardUnavailable as error:
            return _unchecked_prompt(self._settings.unchecked(error), sent)

    def check_tool(
        self, name: str, arguments: Mapping[str, Any] | None = None, *, metadata: Mapping[str, Any] | None = None
    ) -> CheckResult:
        """Ask before a tool is run. Raises `KalGuardDenied` and `KalGuardUnavailable`. `metadata` is for the policy."""
        ask = _ask("/v1/tool/check", {"toolName": name, "arguments": dict(arguments or {})}, metadata)
        try:
            return read_tool(self._send(ask), ask.request_id)
        except KalGuardUnavailable as error:
            return self._settings.unchecked(error)

    def register_tool(self, name: str, argument_schema: Mapping[str, Any], description: str = "") -> CheckResult:
        """Define a tool, with the JSON Schema of its arguments. Raises `KalGuardDenied` and `KalGuardUnavailable`."""
        ask = _register(name, argument_schema, description)
        return read_tool(self._send(ask), ask.request_id)

    def close(self) -> None:
        """Let go of the connections."""
        self._http.close()

    def __enter__(self) -> "KalGuardClient":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _send(self, ask: _Ask) -> Answer:
        deadline = time.monotonic() + self._settings.timeout_seconds
        tried = 0
        while True:
            tried += 1
            answer = self._try(ask, deadline - time.monotonic())
            pause = self._settings.pause(answer, tried, deadline - time.monotonic())
            if pause is None:
                return self._settings.answered(answer, ask.request_id)
            time.sleep(pause)

    def _try(self, ask: _Ask, seconds: float) -> Answer | _Failure:
        headers = self._settings.headers(ask.request_id)
        try:
            with (
                ending_in(seconds),
                self._http.stream("POST", ask.path, content=ask.body, headers=headers) as response,
            ):
                body = bytearray()
                for chunk in response.iter_bytes():
                    body += chunk
                    if len(body) > MAX_REPLY_BYTES:
                        return _Failure(f"a reply of more than {MAX_REPLY_BYTES} bytes")
        except (httpx.HTTPError, OSError) as error:
            return _failure(error)
        self._plan = plan_info(response.headers) or self._plan
        return Answer(response.status_code, response.headers, bytes(body))


class AsyncKalGuardClient:
    """See `KalGuardClient`: the same, to be awaited, on asyncio or trio."""

    def __init__(
        self,
        base_url: str | None = None,
        token: Token | None = None,
        *,
        timeout_seconds: float = TIMEOUT_SECONDS,
        connect_seconds: float = CONNECT_SECONDS,
        retries: int = RETRIES,
        on_unavailable: OnUnavailable = "deny",
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        self._settings = _Settings(
            base_url,
            token,
            timeout_seconds=timeout_seconds,
            connect_seconds=connect_seconds,
            retries=retries,
            on_unavailable=on_unavailable,
        )
        self._http = httpx.AsyncClient(
            base_url=self._settings.base_url,
            timeout=self._settings.timeout,
            follow_redirects=False,
            trust_env=False,
            verify=httpx.create_ssl_context(),
            transport=transport,
        )
        self._plan: PlanInfo | None = None

    @property
    def plan_info(self) -> PlanInfo | None:
        """The plan, as the last reply told it; `None` without KalGuard Cloud."""
        return self._plan

    async def check_prompt(
        self, messages: Sequence[Mapping[str, Any]], *, metadata: Mapping[str, Any] | None = None
    ) -> PromptResult:
        """See `KalGuardClient.check_prompt`."""
        sent = _messages(messages)
        ask = _ask("/v1/prompt/check", {"messages": sent}, metadata)
        try:
            return read_prompt(await self._send(ask), ask.request_id, sent)
        except KalGuardUnavailable as error:
            return _unchecked_prompt(self._settings.unchecked(error), sent)

    async def check_tool(
        self, name: str, arguments: Mapping[str, Any] | None = None, *, metadata: Mapping[str, Any] | None = None
    ) -> CheckResult:
        """See `KalGuardClient.check_tool`."""
        ask = _ask("/v1/tool/check", {"toolName": name, "arguments": dict(arguments or {})}, metadata)
        try:
            return read_tool(await self._send(ask), ask.request_id)
        except KalGuardUnavailable as error:
            return self._settings.unchecked(error)

    async def register_tool(self, name: str, argument_schema: Mapping[str, Any], description: str = "") -> CheckResult:
        """See `KalGuardClient.register_tool`."""
        ask = _register(name, argument_schema, description)
        return read_tool(await self._send(ask), ask.request_id)

    async def aclose(self) -> None:
        """Let go of the connections."""
        await self._http.aclose()

    async def __aenter__(self) -> "AsyncKalGuardClient":
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    async def _send(self, ask: _Ask) -> Answer:
        deadline = time.monotonic() + self._settings.timeout_seconds
        tried = 0
        while True:
            tried += 1
            answer = await self._try(ask, deadline - time.monotonic())
            pause = self._settings.pause(answer, tried, deadline - time.monotonic())
            if pause is None:
                return self._settings.answered(answer, ask.request_id)
            await anyio.sleep(pause)

    async def _try(self, ask: _Ask, seconds: float) -> Answer | _Failure:
        headers = self._settings.headers(ask.request_id)
        try:
            with anyio.fail_after(seconds):
                async with self._http.stream("POST", ask.path, content=ask.body, headers=headers) as response:
                    body = bytearray()
                    async for chunk in response.aiter_bytes():
                        body += chunk
                        if len(body) > MAX_REPLY_BYTES:
                            return _Failure(f"a reply of more than {MAX_REPLY_BYTES} bytes")
        except (httpx.HTTPError, OSError, TimeoutError) as error:
            return _failure(error)
        self._plan = plan_info(response.headers) or self._plan
        return Answer(response.status_code, response.headers, bytes(body))


def _url(text: str) -> str:
    parts = urlsplit(text)
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.username or parts.query or parts.fragment:
        shown = "the value given" if "@" in text else f"`{text}`"
        raise ConfigError([f"KALGUARD_SIDECAR_URL: {shown} is not an http or https URL of a host and a path"])
    return text.rstrip("/")


def _messages(messages: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    if isinstance(messages, str | bytes | Mapping) or not all(isinstance(one, Mapping) for one in messages):
        raise TypeError("messages must be a list of objects, each with `role` and `content`")
    return [dict(one) for one in messages]


def _ask(path: str, body: dict[str, Any], metadata: Mapping[str, Any] | None) -> _Ask:
    """Raises `TypeError` or `ValueError` for what JSON cannot say: what was asked about has to be what will be done."""
    if metadata is not None:
        body["context"] = {"metadata": dict(metadata)}
    written = json.dumps(body, allow_nan=False, ensure_ascii=False, separators=(",", ":"))
    return _Ask(path, written.encode(), f"req_{secrets.token_hex(12)}")


def _register(name: str, argument_schema: Mapping[str, Any], description: str) -> _Ask:
    body = {"toolName": name, "argumentSchema": dict(argument_schema)}
    return _ask("/v1/tool/register", {**body, "description": description} if description else body, None)


def _unchecked_prompt(result: CheckResult, sent: list[dict[str, Any]]) -> PromptResult:
    return PromptResult(request_id=result.request_id, reason=result.reason, is_unchecked=True, messages=sent)


def _failure(error: Exception) -> _Failure:
    if isinstance(error, httpx.ConnectError | httpx.ConnectTimeout):
        return _Failure("the sidecar cannot be reached", nothing_sent=True)
    if isinstance(error, httpx.TimeoutException | TimeoutError):
        return _Failure("no reply in time")
    return _Failure(f"no reply: {type(error).__name__}")
