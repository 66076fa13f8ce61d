"""Asking Cloud: each way in which it can answer ends in an outcome, in time, and the API key goes to nobody else."""

import asyncio
import gzip
import time
from collections.abc import Awaitable, Callable, Iterator
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import httpx
import msgspec
import pytest

from kalguard.connector import client
from kalguard.connector.client import CloudClient, Reported, Unacceptable
from kalguard.connector.license import Failed, Good, Invalid, Refused, Unchanged
from kalguard.wire.cloud import REPORT_PATH, VALIDATE_PATH
from tests.cloud import API_KEY, BEHAVIOURS, PRO, StandIn, cloud
from tests.connector.answers import EVENTS, Value, answered, assert_plain, http
from tests.connector.conftest import gives_up_soon
from tests.forgery import EC
from tests.support import free_port


@pytest.fixture
def stand_in() -> Iterator[StandIn]:
    with cloud() as found:
        yield found


def asked(url: str, ask: Callable[[CloudClient], Awaitable[Value]]) -> Value:
    """What comes of one call."""

    async def run() -> Value:
        found = CloudClient(url, API_KEY)
        try:
            return await ask(found)
        finally:
            await found.close()

    return asyncio.run(run())


def validated(url: str, etag: str | None = None) -> object:
    return asked(url, lambda found: found.validate(etag))


def reported(url: str) -> object:
    return asked(url, lambda found: found.report(EVENTS))


FAILURES = {
    "broken": (3, "HTTP 500"),
    "busy": (1, "HTTP 503"),
    "rubbish": (1, "an answer "),
    "wrong": (1, "an answer "),
    "elsewhere": (1, "HTTP 307"),
    "cut": (3, "RemoteProtocolError: "),
    "slow": (3, "no answer within "),
    "hanging": (3, "no answer within "),
}
OTHERS: dict[str, tuple[type[object], type[object]]] = {
    "good": (Good, Reported),
    "invalid": (Invalid, Reported),
    "refused": (Refused, Refused),
    "forbidden": (Refused, Refused),
    "unacceptable": (Good, Unacceptable),
}


def test_every_behaviour_has_its_outcome_here() -> None:
    assert sorted(BEHAVIOURS) == sorted([*FAILURES, *OTHERS])


@pytest.mark.parametrize("behaviour", FAILURES)
def test_a_call_that_fails_is_tried_so_often_and_tells_why(
    stand_in: StandIn, behaviour: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if behaviour in ("slow", "hanging"):
        gives_up_soon(monkeypatch)
    stand_in.behaviour = behaviour
    tries, problem = FAILURES[behaviour]
    for ask, path in ((validated, VALIDATE_PATH), (reported, REPORT_PATH)):
        stand_in.requests.clear()
        started = time.monotonic()
        outcome = ask(stand_in.url)
        assert time.monotonic() - started < 20  # a minute, if one try could last as long as Cloud likes
        assert isinstance(outcome, Failed)
        assert outcome.problem.startswith(problem)
        assert_plain(outcome.problem)
        assert outcome.retry_after == (2.0 if behaviour == "busy" else None)
        assert stand_in.calls(path) == tries
        assert len(stand_in.requests) == tries
    # What Cloud has counted although its answer was cut off, it has counted once.
    assert (len(stand_in.events), stand_in.twice) == ((3, 6) if behaviour == "cut" else (0, 0))


@pytest.mark.parametrize("behaviour", OTHERS)
def test_a_call_that_is_answered_is_asked_once(stand_in: StandIn, behaviour: str) -> None:
    stand_in.behaviour = behaviour
    for outcome, kind in zip((validated(stand_in.url), reported(stand_in.url)), OTHERS[behaviour], strict=True):
        assert isinstance(outcome, kind)
    assert [path for _, path, _ in stand_in.requests] == [VALIDATE_PATH, REPORT_PATH]


def test_a_cloud_that_is_gone_is_tried_three_times() -> None:
    tries = 0

    def gone(_: httpx.Request) -> httpx.Response:
        nonlocal tries
        tries += 1
        raise httpx.ConnectError("nobody there")

    async def run() -> object:
        return await CloudClient("http://cloud.example", API_KEY, transport=httpx.MockTransport(gone)).validate(None)

    assert asyncio.run(run()) == Failed("ConnectError: nobody there")
    assert tries == 3
    outcome = validated(f"http://127.0.0.1:{free_port()}")
    assert isinstance(outcome, Failed)
    assert outcome.problem.startswith("ConnectError: ")


def test_a_cloud_that_recovers_between_two_tries_is_heard(stand_in: StandIn, monkeypatch: pytest.MonkeyPatch) -> None:
    def recovers(_: object) -> float:
        stand_in.behaviour = "good"
        return 0.0

    monkeypatch.setattr(client, "_pause", recovers)
    stand_in.behaviour = "broken"
    assert validated(stand_in.url) == Good(PRO, stand_in.answer(VALIDATE_PATH, {"x-api-key": API_KEY}, b"")[1]["etag"])
    assert stand_in.calls(VALIDATE_PATH) == 2


def test_pauses_between_tries_are_random_and_grow(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client, "PAUSE_SECONDS", 1.0)

    class State:
        attempt_number = 1

    for State.attempt_number, most in ((1, 1.0), (2, 2.0)):
        pauses = [client._pause(State()) for _ in range(1000)]  # type: ignore[arg-type]
        assert 0 <= min(pauses) < 0.1 * most
        assert 0.9 * most < max(pauses) <= most


def test_a_licence_that_is_known_is_not_sent_again(stand_in: StandIn) -> None:
    first = validated(stand_in.url)
    assert isinstance(first, Good)
    assert first.reply == PRO
    assert validated(stand_in.url, first.etag) == Unchanged()
    stand_in.limit(checks_per_day=5)
    assert isinstance(validated(stand_in.url, first.etag), Good)
    stand_in.uses_etags = False
    assert validated(stand_in.url, first.etag) == Good(stand_in.license, None)


@pytest.mark.parametrize("etag", ["e", '"a b"', '"\xe9"', '"', f'"{"e" * 200}"', '"a", "b"'])
def test_what_cannot_be_sent_back_does_not_stand_for_a_licence(etag: str) -> None:
    answer = http(200, msgspec.json.encode(PRO), etag=etag)
    assert answered(answer, lambda found: found.validate(None))[0] == Good(PRO, None)


@pytest.mark.parametrize("etag", ['"e"', 'W/"a1-2.3"', '""'])
def test_what_stands_for_a_licence_is_sent_back_as_it_came(etag: str) -> None:
    answer = http(200, msgspec.json.encode(PRO), etag=etag)
    assert answered(answer, lambda found: found.validate(None))[0] == Good(PRO, etag)


def test_no_change_that_nobody_asked_for_is_no_answer() -> None:
    outcome, _ = answered(http(304), lambda found: found.validate(None))
    assert outcome == Failed("HTTP 304 without having been asked for changes")


BAD_LICENCES = {
    "without a plan": b'{"valid": true}',
    "without limits": b'{"valid": true, "tier": "pro", "orgId": "o"}',
    "a short secret": msgspec.json.encode(msgspec.structs.replace(PRO, token_signing_secret="short")),
    "a secret that is a key": msgspec.json.encode(
        msgspec.structs.replace(PRO, token_signing_secret=EC.as_pem(private=False).decode())
    ),
    "an expiry of no time zone": msgspec.json.encode(msgspec.structs.replace(PRO, expires_at=datetime(2030, 1, 1))),
    "a name for a header": msgspec.json.encode(msgspec.structs.replace(PRO, tier="pro\r\nx: y")),
    "a limit below none": msgspec.json.encode(PRO).replace(b'"checksPerDay":100000', b'"checksPerDay":-2'),
    "a limit beyond numbers": msgspec.json.encode(PRO).replace(b'"checksPerDay":100000', b'"checksPerDay":1e300'),
    "a revocation that is none": msgspec.json.encode(msgspec.structs.replace(PRO, revoked_token_hashes=["abc"])),
    "nested": b'{"valid": ' + b"[" * 100_000,
    "nothing": b"",
    "not UTF-8": b'{"valid": true, "tier": "\xff"}',
    "null": b"null",
}


@pytest.mark.parametrize("name", BAD_LICENCES)
def test_a_licence_that_cannot_be_used_is_no_answer(name: str) -> None:
    outcome, heard = answered(http(200, BAD_LICENCES[name]), lambda found: found.validate(None))
    assert isinstance(outcome, Failed)
    assert outcome.problem.startswith("an answer that is no licence")
    assert len(heard) == 1


def test_fields_that_nobody_knows_are_passed_over() -> None:
    body = msgspec.json.encode(PRO).replace(b'{"valid"', b'{"newer":[{}],"valid"')
    assert answered(http(200, body), lambda found: found.validate(None))[0] == Good(PRO, None)


@pytest.mark.parametrize(
    "body",
    [
        b'{"accepted": 4, "remaining": 1}',
        b'{"accepted": -1, "remaining": 1}',
        b'{"accepted": 1, "remaining": -2}',
        b'{"accepted": 1}',
        b"[]",
        b"",
    ],
)
def test_an_answer_to_a_report_that_cannot_be_is_no_answer(body: bytes) -> None:
    outcome, _ = answered(http(200, body), lambda found: found.report(EVENTS))
    assert isinstance(outcome, Failed)


def test_events_that_cloud_had_already_are_reported_all_the_same() -> None:
    answer = http(202, b'{"accepted": 0, "remaining": -1}')
    assert answered(answer, lambda found: found.report(EVENTS))[0] == Reported(None)
    answer = http(200, b'{"accepted": 3, "remaining": 0}')
    assert answered(answer, lambda found: found.report(EVENTS))[0] == Reported(0)


@pytest.mark.parametrize("status", [400, 413, 422])
def test_events_that_sending_again_cannot_help_are_unacceptable(status: int) -> None:
    assert answered(http(status), lambda found: found.report(EVENTS))[0] == Unacceptable(f"HTTP {status}")
    assert answered(http(status), lambda found: found.validate(None))[0] == Failed(f"HTTP {status}")


@pytest.mark.parametrize("announced", [True, False])
def test_an_answer_that_is_too_large_is_not_read_to_its_end(monkeypatch: pytest.MonkeyPatch, announced: bool) -> None:
    monkeypatch.setattr(client, "MAX_LICENSE_BYTES", 1000)
    head = b"HTTP/1.1 200 OK\r\n" + (b"content-length: 99999999\r\n" if announced else b"") + b"\r\n"
    outcome, _ = answered(head + b" " * 100_000, lambda found: found.validate(None))
    assert outcome == Failed("an answer of more than 1000 bytes")


def test_a_compressed_answer_is_not_unpacked() -> None:
    """It could become of any size."""
    packed = gzip.compress(msgspec.json.encode(PRO))
    outcome, heard = answered(http(200, packed, content_encoding="gzip"), lambda found: found.validate(None))
    assert isinstance(outcome, Failed)
    assert b"accept-encoding: identity\r\n" in heard[0]


@pytest.mark.parametrize(
    "answer",
    [b"", b"SSH-2.0-OpenSSH_9.2\r\n", b"\x16\x03\x01", b"HTTP/1.1 999999 X\r\n\r\n", http(200, x="a" * 300_000)],
)
def test_what_is_no_http_is_no_answer(answer: bytes) -> None:
    outcome, heard = answered(answer, lambda found: found.validate(None))
    assert isinstance(outcome, Failed)
    assert len(heard) == 3


@pytest.mark.parametrize(
    ("given", "seconds"),
    [
        ("0", None),  # says nothing of when
        ("7", 7.0),
        ("99999999", client.MAX_RETRY_AFTER_SECONDS),
        ("9" * 400, client.MAX_RETRY_AFTER_SECONDS),
        ("-5", None),
        ("1.5", None),
        ("soon", None),
        ("", None),
        ("٣", None),
        ("Sat, 14 Mar 2026 12:00:00", None),  # of no time zone
        ("Sat, 14 Mar 2026 12:00:00 GMT", None),  # that is over
        ("Sat, 99 Mar 2026 12:00:00 GMT", None),
    ],
)
def test_when_to_ask_again_is_taken_as_seconds_or_a_date(given: str, seconds: float | None) -> None:
    assert client._retry_after(httpx.Headers([(b"retry-after", given.encode())])) == seconds


def test_a_date_to_ask_again_is_waited_for() -> None:
    date = format_datetime(datetime.now(UTC) + timedelta(seconds=100), usegmt=True)
    outcome, heard = answered(http(503, retry_after=date), lambda found: found.report(EVENTS))
    assert isinstance(outcome, Failed)
    assert outcome.retry_after is not None
    assert 50 < outcome.retry_after <= 100
    assert len(heard) == 1  # who says when does not want to be asked sooner
