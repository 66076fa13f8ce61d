"""Asks KalGuard Cloud. Every call ends in an outcome, within `TRY_SECONDS` a try, and never raises.

Three tries, with full jitter between them, where the network or Cloud fails (5xx); none again where Cloud says no. No
redirect is followed, and a proxy that the environment names is used only for TLS, of which it sees nothing: the API key
goes to the Cloud that was configured and nowhere else. What is sent is what stands here: no cookies are kept.
"""

import asyncio
import os
import random
import re
import ssl
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from http.cookiejar import CookieJar, DefaultCookiePolicy
from typing import NamedTuple, TypeVar

import httpx
import msgspec
from tenacity import AsyncRetrying, RetryCallState, retry_if_result, stop_after_attempt

from kalguard.connector.environment import proxy_for
from kalguard.connector.license import Failed, Good, Invalid, Outcome, Refused, Unchanged, objection
from kalguard.version import VERSION
from kalguard.wire.cloud import (
    API_KEY_HEADER,
    REPORT_PATH,
    VALIDATE_PATH,
    LicenseReply,
    UsageEvent,
    UsageReply,
    UsageReport,
)

TRY_SECONDS = 5.0
TRIES = 3
PAUSE_SECONDS = 1.0  # at most before the second try, twice that before the third
MAX_LICENSE_BYTES = 32 * 1024 * 1024  # half a million revoked tokens
MAX_REPLY_BYTES = 64 * 1024
MAX_RETRY_AFTER_SECONDS = 3600.0
# What cannot be helped by sending it again: Cloud does not take these events.
_UNACCEPTABLE = frozenset({400, 413, 422})
_ETAG = re.compile(r'(W/)?"[\x21\x23-\x7e]{0,128}"')  # what is none cannot be sent back
_T = TypeVar("_T")


class Reported(NamedTuple):
    """Cloud has the events, and leaves so many checks for the day; `None`: as many as there are."""

    remaining: int | None


class Unacceptable(NamedTuple):
    """Cloud will not have these events, however often they are sent."""

    problem: str


class _Answer(NamedTuple):
    status: int
    headers: httpx.Headers
    body: bytes


def _trust(url: str) -> ssl.SSLContext:
    """The authorities that are trusted, which take a while to read: none where the call is not by TLS."""
    return httpx.create_ssl_context() if url.startswith("https:") else ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)


class CloudClient:
    """Cloud at `url`, asked with `api_key`. `transport` is for tests."""

    def __init__(self, url: str, api_key: str, *, transport: httpx.AsyncBaseTransport | None = None) -> None:
        """Raises `ConfigError` and `OSError` for an environment by which it cannot be called."""
        self._client = httpx.AsyncClient(
            base_url=url.rstrip("/"),
            headers={
                API_KEY_HEADER: api_key,
                "accept": "application/json",
                "accept-encoding": "identity",  # so that what is read is as large as it says
                "content-type": "application/json",
                "user-agent": f"kalguard-sidecar/{VERSION}",
            },
            timeout=TRY_SECONDS,
            follow_redirects=False,
            # Ours to read: httpx makes ready for every proxy that is named, and fails for one that is not asked.
            trust_env=False,
            proxy=proxy_for(url, os.environ),
            verify=_trust(url),
            cookies=CookieJar(DefaultCookiePolicy(allowed_domains=[])),
            transport=transport,
        )

    async def validate(self, etag: str | None) -> Outcome:
        """Ask for the licence; `etag` stands for the one that is known."""
        headers = {} if etag is None else {"if-none-match": etag}
        answer = await self._post(VALIDATE_PATH, b"{}", headers, MAX_LICENSE_BYTES)
        if isinstance(answer, Failed | Refused):
            return answer
        if answer.status == 304:
            return Unchanged() if etag is not None else Failed("HTTP 304 without having been asked for changes")
        return _license_in(answer) if answer.status == 200 else _unexpected(answer)

    async def report(self, events: list[UsageEvent]) -> Reported | Unacceptable | Refused | Failed:
        """Hand over usage events."""
        answer = await self._post(REPORT_PATH, msgspec.json.encode(UsageReport(events)), {}, MAX_REPLY_BYTES)
        if isinstance(answer, Failed | Refused):
            return answer
        if answer.status in _UNACCEPTABLE:
            return Unacceptable(f"HTTP {answer.status}")
        if not 200 <= answer.status < 300:
            return _unexpected(answer)
        try:
            reply = msgspec.json.decode(answer.body, type=UsageReply)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            return Failed(f"an answer to a usage report that is none: {_shortened(str(error))}")
        if reply.accepted > len(events):
            return Failed(f"{reply.accepted} of {len(events)} events accepted")
        return Reported(None if reply.remaining < 0 else reply.remaining)

    async def close(self) -> None:
        """Let go of the connections."""
        await self._client.aclose()

    async def _post(self, path: str, body: bytes, headers: dict[str, str], most: int) -> _Answer | Failed | Refused:
        tries = AsyncRetrying(
            stop=stop_after_attempt(TRIES),
            wait=_pause,
            retry=retry_if_result(_may_pass),
            retry_error_callback=lambda state: state.outcome.result() if state.outcome else None,
        )
        answer: _Answer | Failed = await tries(self._try, path, body, headers, most)
        if isinstance(answer, Failed):
            return answer
        return Refused() if answer.status in (401, 403) else answer

    async def _try(self, path: str, body: bytes, headers: dict[str, str], most: int) -> _Answer | Failed:
        try:
            async with asyncio.timeout(TRY_SECONDS):
                async with self._client.stream("POST", path, content=body, headers=headers) as response:
                    content = bytearray()
                    async for chunk in response.aiter_raw():
                        content += chunk
                        if len(content) > most:
                            return Failed(f"an answer of more than {most} bytes")
                    return _Answer(response.status_code, response.headers, bytes(content))
        except TimeoutError:
            return Failed(f"no answer within {TRY_SECONDS:.0f} s")
        except (httpx.HTTPError, httpx.InvalidURL, httpx.StreamError, OSError, ValueError) as error:
            return Failed(f"{type(error).__name__}: {_shortened(str(error))}")


def _license_in(answer: _Answer) -> Good | Invalid | Failed:
    try:
        reply = msgspec.json.decode(answer.body, type=LicenseReply)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        return Failed(f"an answer that is no licence: {_shortened(str(error))}")
    if not reply.valid:
        return Invalid(reply)
    if problem := objection(reply):
        return Failed(f"an answer that is no licence: {problem}")
    etag = answer.headers.get("etag", "")
    return Good(reply, etag if _ETAG.fullmatch(etag) else None)


def _may_pass(answer: _Answer | Failed) -> bool:
    """Whether trying again soon may help. Who wants to be asked later says so."""
    if isinstance(answer, Failed):
        return True
    return answer.status >= 500 and _retry_after(answer.headers) is None


def _pause(state: RetryCallState) -> float:
    return random.uniform(0, PAUSE_SECONDS * 2 ** (state.attempt_number - 1))  # noqa: S311 - so that not all ask at once


def _unexpected(answer: _Answer) -> Failed:
    return Failed(f"HTTP {answer.status}", _retry_after(answer.headers))


def _retry_after(headers: httpx.Headers) -> float | None:
    """Seconds until Cloud wants to be asked again: a number, or a date (RFC 9110, 10.2.3).

    0, and a date that is over by our clock, say nothing of when: the pauses are then our own, which grow.
    """
    given = headers.get("retry-after", "")
    try:
        if given.isascii() and given.isdigit():
            seconds = float(given)
        else:
            seconds = (parsedate_to_datetime(given) - datetime.now(UTC)).total_seconds()
    except (ValueError, TypeError, OverflowError):
        return None
    return min(seconds, MAX_RETRY_AFTER_SECONDS) if seconds > 0 else None


def _shortened(text: str) -> str:
    plain = " ".join(text.split())
    return plain if len(plain) <= 200 else plain[:197] + "..."
