"""The sealed file: nothing can be read in it, nothing in it can be changed, and a write is whole or not at all."""

import itertools
import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from kalguard.connector.license import License, LicenseState, SigningKey, Snapshot
from kalguard.connector.sealed import SealedFile, Unreadable
from kalguard.connector.snapshot import SnapshotFile

API_KEY = "kg_test_the-key-it-is-sealed-with"
URL = "https://cloud.example"
SNAPSHOT = Snapshot(
    LicenseState.CONNECTED,
    since=5.0,
    license=License("the-tier", "the-org", 5, None),
    keys=(SigningKey("the secret that tokens are signed with"), SigningKey("the secret before", 99.0)),
    revoked=b"a digest of thirty-two bytes' size",
    etag='"the-etag"',
)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "licence"


def sealed(path: Path, secret: str = API_KEY, purpose: str = "tests") -> SealedFile:
    return SealedFile(path, secret=secret, purpose=purpose)


def store(path: Path, url: str = URL, api_key: str = API_KEY) -> SnapshotFile:
    return SnapshotFile(path, url=url, api_key=api_key)


def test_it_opens_for_the_same_key_and_purpose_alone(path: Path) -> None:
    sealed(path).write(b"content")
    assert sealed(path).read() == b"content"
    for other in (sealed(path, API_KEY + "x"), sealed(path, API_KEY[:-1]), sealed(path, purpose="test")):
        with pytest.raises(Unreadable, match="not of this API key"):
            other.read()


def test_a_snapshot_is_of_one_key_and_one_cloud(path: Path) -> None:
    store(path).write(SNAPSHOT)
    assert store(path).read() == SNAPSHOT
    for other in (store(path, api_key="kg_live_other"), store(path, url=URL + ".org"), store(path, url=URL + "/")):
        with pytest.raises(Unreadable):
            other.read()


def test_no_byte_of_it_can_be_changed(path: Path) -> None:
    sealed(path).write(b"content")
    whole = path.read_bytes()
    for at in range(len(whole)):
        for bit in (1, 128):
            path.write_bytes(whole[:at] + bytes([whole[at] ^ bit]) + whole[at + 1 :])
            with pytest.raises(Unreadable):
                sealed(path).read()
    path.write_bytes(whole)
    assert sealed(path).read() == b"content"


def test_no_part_of_it_can_be_missing_or_added(path: Path) -> None:
    sealed(path).write(b"content")
    whole = path.read_bytes()
    for other in [whole[:length] for length in range(len(whole))] + [whole[1:], whole + b"\0", whole + whole]:
        path.write_bytes(other)
        with pytest.raises(Unreadable):
            sealed(path).read()


def test_an_empty_content_is_sealed_too(path: Path) -> None:
    sealed(path).write(b"")
    assert sealed(path).read() == b""


def test_nothing_that_it_holds_stands_in_the_file(path: Path) -> None:
    store(path).write(SNAPSHOT)
    whole = path.read_bytes()
    for text in (b"the secret", b"the-tier", b"the-org", b"the-etag", b"thirty-two", b"connected", API_KEY.encode()):
        assert text in msgspec.json.encode(SNAPSHOT) or text in SNAPSHOT.revoked or text == API_KEY.encode()
        assert text not in whole


def test_the_same_content_is_never_sealed_alike(path: Path) -> None:
    """Salt and nonce are new each time, so that no key meets a nonce twice."""
    seen = set()
    for _ in range(50):
        sealed(path).write(b"content")
        seen.add(path.read_bytes()[18:46])
    assert len({whole[:16] for whole in seen}) == len({whole[16:] for whole in seen}) == 50


def test_what_was_never_written_is_not_found(path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        sealed(path).read()
    with pytest.raises(FileNotFoundError):
        store(path).mark()


@pytest.mark.parametrize("mask", [0o000, 0o022, 0o077])
def test_it_is_for_its_owner_alone(path: Path, mask: int) -> None:
    before = os.umask(mask)
    try:
        path.write_text("of somebody else")
        path.chmod(0o666)
        sealed(path).write(b"content")
    finally:
        os.umask(before)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def failing(*_: Any, **__: Any) -> Any:
    raise OSError(28, "No space left on device")


@pytest.mark.parametrize("step", ["open", "fdopen", "fsync", "replace"])
def test_a_write_that_fails_leaves_what_was_there(path: Path, monkeypatch: pytest.MonkeyPatch, step: str) -> None:
    sealed(path).write(b"before")
    with monkeypatch.context() as patched:
        patched.setattr(Path if step == "replace" else os, step, failing)
        with pytest.raises(OSError, match="No space"):
            sealed(path).write(b"after")
    assert sealed(path).read() == b"before"
    assert [found.name for found in path.parent.iterdir()] == [path.name]
    sealed(path).write(b"after")
    assert sealed(path).read() == b"after"


def test_what_a_death_in_the_middle_left_is_in_nobodys_way(path: Path) -> None:
    sealed(path).write(b"before")
    (path.parent / "licence.new").write_bytes(b"half of a f")
    assert sealed(path).read() == b"before"
    sealed(path).write(b"after")
    assert sealed(path).read() == b"after"


def test_nothing_is_written_through_a_link(path: Path) -> None:
    victim = path.parent / "victim"
    victim.write_text("untouched")
    (path.parent / "licence.new").symlink_to(victim)
    path.symlink_to(victim)
    sealed(path).write(b"content")
    assert victim.read_text() == "untouched"
    assert sealed(path).read() == b"content"


def test_a_snapshot_of_another_version_cannot_be_used(path: Path) -> None:
    for content in (b"", b"\xc1", msgspec.msgpack.encode({"state": "unheard of"}), msgspec.msgpack.encode([1])):
        SealedFile(path, secret=API_KEY, purpose=f"licence of {URL}").write(content)
        with pytest.raises(Unreadable, match="of another version"):
            store(path).read()


def test_every_write_of_a_snapshot_can_be_seen(path: Path) -> None:
    marks = []
    for _ in range(5):
        store(path).write(SNAPSHOT)
        marks.append(store(path).mark())
    assert all(one != other for one, other in itertools.pairwise(marks))
    assert store(path).mark() == marks[-1]


def test_a_start_takes_up_what_was_known_and_is_not_connected(path: Path) -> None:
    store(path).write(SNAPSHOT)
    found = store(path).resume(now=50.0, overlap=3600)
    assert found == msgspec.structs.replace(SNAPSHOT, state=LicenseState.DEGRADED, since=50.0)
    assert store(path).read() == found


def _none(path: Path) -> None:
    """Nothing is there."""


def _of_another_key(path: Path) -> None:
    store(path, api_key="kg_test_other").write(SNAPSHOT)


def _rubbish(path: Path) -> None:
    path.write_bytes(b"rubbish")


@pytest.mark.parametrize("put", [_none, _of_another_key, _rubbish])
def test_a_start_that_finds_nothing_it_can_use_begins_anew_and_says_so(
    path: Path, caplog: pytest.LogCaptureFixture, put: Callable[[Path], None]
) -> None:
    put(path)
    assert store(path).resume(now=100.0, overlap=3600) == Snapshot(since=100.0)
    assert store(path).read() == Snapshot(since=100.0)
    assert ("cannot be used" in caplog.text) is (put is not _none)


def test_a_start_that_cannot_write_fails(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "open", failing)
    with pytest.raises(OSError, match="No space"):
        store(path).resume(now=100.0, overlap=3600)
