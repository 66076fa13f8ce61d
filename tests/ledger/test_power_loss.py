"""What a machine that lost its power may leave: entries and ring of different moments, and bytes that nobody wrote.

Whatever lies there, everything comes to an end, the account stays right, and the events after it come through.
"""

import os
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kalguard.ledger import usage
from kalguard.ledger.file import RING_AT
from tests.ledger.buffers import EVENT_BYTES, NOON, Buffer, buffer

RING_BYTES = 6 * EVENT_BYTES + 10


def overwrite(held: Buffer, at: int, data: bytes) -> None:
    """Put bytes into the ring behind everybody's back."""
    os.pwrite(held.ledger.file.fd, data[: RING_BYTES - at], RING_AT + at)


def ring(held: Buffer) -> bytes:
    return os.pread(held.ledger.file.fd, RING_BYTES, RING_AT)


def names(first: int, end: int) -> list[str]:
    return [f"{number:03}" for number in range(first, end)]


def test_a_line_that_is_none_is_passed_over_and_counted(tmp_path: Path) -> None:
    held = buffer(tmp_path, RING_BYTES)
    held.adds(*names(0, 5))
    overwrite(held, EVENT_BYTES + 3, b"\xff\0")
    overwrite(held, 3 * EVENT_BYTES, b"[]" + b" " * (EVENT_BYTES - 3))
    assert held.takes() == ["000", "002", "004"]
    entries = held.entries()
    assert (entries.made, entries.accepted, entries.dropped) == (5, 3, 2)


def test_lines_that_run_into_each_other_are_counted_when_the_ring_is_empty(tmp_path: Path) -> None:
    held = buffer(tmp_path, RING_BYTES)
    held.adds(*names(0, 5))
    overwrite(held, 2 * EVENT_BYTES - 1, b" ")
    assert held.takes(2) == ["000"]
    assert held.drained() == ["003", "004"]
    assert held.entries().dropped == 2
    assert held.is_consistent()


def test_a_ring_of_zeros_is_given_up_as_a_whole(tmp_path: Path) -> None:
    held = buffer(tmp_path, RING_BYTES)
    held.adds(*names(0, 5))
    overwrite(held, 0, bytes(RING_BYTES))
    assert held.drained() == []
    assert held.entries().dropped == 5
    held.adds("005")
    assert held.drained() == ["005"]


def test_what_is_added_while_a_ring_of_zeros_is_given_up_comes_through(tmp_path: Path) -> None:
    held = buffer(tmp_path, RING_BYTES)
    held.adds(*names(0, 3))
    overwrite(held, 0, bytes(RING_BYTES))
    batch = held.oldest(100)
    held.adds("003")
    held.drop(batch)
    assert held.drained() == ["003"]
    entries = held.entries()
    assert (entries.made, entries.accepted, entries.dropped) == (4, 1, 3)


def test_entries_that_were_kept_without_the_ring(tmp_path: Path) -> None:
    """What lies there is from the round before: added once, and Cloud has it already."""
    held = buffer(tmp_path, RING_BYTES)
    held.adds(*names(0, 5))
    before = ring(held)
    held.drained()
    held.adds(*names(5, 10))
    overwrite(held, 0, before)
    assert set(held.drained()) <= set(names(0, 5))
    assert held.is_consistent()
    held.adds("010")
    assert held.drained() == ["010"]


def test_a_ring_that_was_kept_without_the_entries(tmp_path: Path) -> None:
    held = buffer(tmp_path, RING_BYTES)
    held.adds(*names(0, 5))
    before = held.entries()
    held.drained()
    held.adds(*names(5, 10))
    held.ledger.write(before)
    assert set(held.drained()) <= set(names(0, 10))
    assert held.is_consistent()
    held.adds("010")
    assert held.drained() == ["010"]


@given(
    rounds=st.lists(
        st.tuples(
            st.integers(0, 8),
            st.lists(st.tuples(st.integers(0, RING_BYTES - 1), st.binary(min_size=1, max_size=40)), max_size=3),
            st.sampled_from(["nothing", "old ring", "old entries"]),
            st.integers(1, 4),
        ),
        max_size=6,
    )
)
def test_whatever_lies_in_the_ring_comes_to_an_end_and_is_accounted_for(
    rounds: list[tuple[int, list[tuple[int, bytes]], str, int]],
) -> None:
    with TemporaryDirectory() as folder:
        held = buffer(Path(folder), RING_BYTES)
        kept_ring, kept_entries = ring(held), held.entries()
        for added, spots, old, count in rounds:
            held.adds(*names(0, added))
            for at, data in spots:
                overwrite(held, at, data)
            if old == "old ring":
                overwrite(held, 0, kept_ring)
            if old == "old entries":
                held.ledger.write(kept_entries)
            kept_ring, kept_entries = ring(held), held.entries()
            held.takes(count)
            held.adds("later")
        held.drained()
        assert held.is_consistent()
        held.adds("last")
        assert held.drained() == ["last"]
        os.close(held.ledger.file.fd)  # there are many of them


def test_a_long_ring_without_an_end_of_a_line_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(usage, "_READ_BYTES", 3 * EVENT_BYTES)
    held = buffer(tmp_path, RING_BYTES)
    held.adds(*names(0, 6))
    assert held.takes() == names(0, 3)  # no more than are read at once
    overwrite(held, 3 * EVENT_BYTES, b"." * 4 * EVENT_BYTES)
    assert held.drained() == []
    held.adds("006", at=NOON)
    assert held.drained() == ["006"]
