"""What a tamperer can do to an audit log, and what `verify` says to it."""

import gzip
import io
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import load_pem_public_key
from hypothesis import given
from hypothesis import strategies as st

from kalguard.records import verification
from kalguard.records.reader import MAX_LINE_BYTES
from kalguard.records.verification import Report, verify
from tests.records.written import Writer, joined, key
from tests.support import vectors

KEYS = [key().public_key()]


def report_on(folder: Path, *files: list[bytes], keyed: bool = False) -> Report:
    """What `verify` says of files with these lines, the oldest first: they are named `0`, `1`..."""
    for number, lines in enumerate(files):
        (folder / str(number)).write_bytes(joined(lines))
    return verify([str(folder / str(number)) for number in range(len(files))], KEYS if keyed else ())


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One for all examples of a test."""
    return tmp_path_factory.mktemp("log")


def bad_line(report: Report) -> tuple[str, int] | None:
    """File and line of what is bad."""
    return None if report.bad is None else (Path(report.bad.place.file).name, report.bad.place.line)


def remarks(report: Report) -> str:
    return "\n".join(note.text for note in report.remarks)


def one_chain(count: int = 6, **options: bool) -> list[bytes]:
    lines: list[bytes] = []
    writer = Writer(**options)  # type: ignore[arg-type]
    for _ in range(count - 1):
        writer.write(lines)
    writer.write(lines, "audit_closed")
    return lines


def three_chains(
    order: Sequence[int] = (1, 2, 1, 1, 3, 2, 3, 1), *, ocsf: bool = False, close: bool = True
) -> list[bytes]:
    """Several writers in one file, in the order of their numbers."""
    lines: list[bytes] = []
    writers = {number: Writer(number=number, ocsf=ocsf) for number in dict.fromkeys(order)}
    for number in order:
        writers[number].write(lines)
    for writer in writers.values() if close else ():
        writer.write(lines, "audit_closed")
    return lines


@pytest.mark.parametrize("case", vectors("audit/cases.json"), ids=lambda case: case["name"])
def test_the_vectors_are_judged_as_they_say(tmp_path: Path, case: Any) -> None:
    for number, content in enumerate(case["files"]):
        (tmp_path / str(number)).write_text(content)
    keys = [load_pem_public_key(pem.encode()) for pem in case["keys"]]
    names = [str(tmp_path / str(number)) for number in range(len(case["files"]))]
    report = verify(names, [key for key in keys if isinstance(key, Ed25519PublicKey)])
    assert bad_line(report) == (None if case["bad"] is None else (str(case["bad"][0]), case["bad"][1]))
    if report.bad is None:
        assert len(report.remarks) == len(case["remarks"])
        assert all(expected in remarks(report) for expected in case["remarks"])


@pytest.mark.parametrize("ocsf", [False, True])
@pytest.mark.parametrize("make", [one_chain, three_chains])
def test_a_log_as_it_was_written_is_good(tmp_path: Path, make: Callable[..., list[bytes]], ocsf: bool) -> None:
    lines = make(ocsf=ocsf)
    report = report_on(tmp_path, lines)
    assert (report.bad, report.remarks, report.records) == (None, [], len(lines))
    assert report.chains == (1 if make is one_chain else 3)


def test_an_empty_log_is_good(tmp_path: Path) -> None:
    assert report_on(tmp_path, []).bad is None


ORDERS = st.lists(st.integers(1, 3), min_size=4, max_size=12)


@given(order=ORDERS, ocsf=st.booleans(), data=st.data())
def test_any_line_that_is_changed_anywhere_but_at_the_end_is_found(
    folder: Path, order: list[int], ocsf: bool, data: st.DataObject
) -> None:
    lines = three_chains(order, ocsf=ocsf, close=False)
    index = data.draw(st.integers(0, len(lines) - 2))
    at = data.draw(st.integers(0, len(lines[index]) - 1))
    sign = data.draw(st.integers(0, 255).filter(lambda sign: sign not in (lines[index][at], 10)))
    changed = lines[index][:at] + bytes([sign]) + lines[index][at + 1 :]
    report = report_on(folder, [*lines[:index], changed, *lines[index + 1 :]])
    found = bad_line(report)
    assert found is not None
    # Where the chain of the changed line does not go on, the line after it may be named instead.
    assert found[1] in (index + 1, index + 2)
    if index + 2 < len(lines) and len(set(order)) == 1:
        assert found[1] == index + 1


@given(order=ORDERS, data=st.data())
def test_any_line_that_is_dropped_repeated_or_moved_is_found(
    folder: Path, order: list[int], data: st.DataObject
) -> None:
    lines = three_chains(order, close=False)
    index = data.draw(st.integers(0, len(lines) - 2))
    other = data.draw(st.integers(0, len(lines) - 1).filter(lambda other: other != index))
    without = [*lines[:index], *lines[index + 1 :]]
    assert bad_line(report_on(folder, without)) == ("0", index + 1)
    moved = [*without[:other], lines[index], *without[other:]]
    assert bad_line(report_on(folder, moved)) == ("0", min(index, other) + 1)
    repeated = [*lines[: other + 1], lines[index], *lines[other + 1 :]]
    assert bad_line(report_on(folder, repeated)) == ("0", other + (3 if index == other + 1 else 2))


@given(order=ORDERS, data=st.data())
def test_any_run_of_lines_but_the_last_ones_is_missed(folder: Path, order: list[int], data: st.DataObject) -> None:
    lines = three_chains(order, close=False)
    start = data.draw(st.integers(0, len(lines) - 2))
    end = data.draw(st.integers(start + 1, len(lines) - 1))
    report = report_on(folder, [*lines[:start], *lines[end:]])
    assert bad_line(report) == ("0", start + 1)


@given(order=ORDERS.filter(lambda order: len(set(order)) > 1), data=st.data())
def test_a_whole_chain_cannot_vanish_from_between_the_others(
    folder: Path, order: list[int], data: st.DataObject
) -> None:
    gone = data.draw(st.sampled_from(sorted({number for number in order if number != order[-1]})))
    lines = three_chains(order, close=False)
    kept = [line for line, number in zip(lines, order, strict=True) if number != gone]
    assert bad_line(report_on(folder, kept)) is not None


@given(
    order=ORDERS,
    noise=st.lists(st.tuples(st.integers(0, 20), st.integers(0, 600), st.binary(max_size=30)), min_size=1, max_size=3),
)
def test_whatever_is_in_a_file_there_is_an_answer(
    folder: Path, order: list[int], noise: list[tuple[int, int, bytes]]
) -> None:
    lines = three_chains(order)
    for index, at, data in noise:
        line = lines[index % len(lines)]
        lines[index % len(lines)] = line[:at] + data + line[at + len(data) :]
    report = report_on(folder, lines, keyed=True)
    assert report.lines <= len(lines) + sum(data.count(b"\n") for _, _, data in noise)


@pytest.mark.parametrize("field", [b'"decision":"allow"', b'"chain":"wrt_', b'"seq":3', b'"prev":"', b'"id":"evt_0'])
def test_the_changed_line_itself_is_named(tmp_path: Path, field: bytes) -> None:
    lines = one_chain()
    sign = lines[2][lines[2].index(field) + len(field) - 1 :][:1]
    other = {b'"': b'"', b"_": b"_"}.get(sign, b"9")
    place = lines[2].index(field) + len(field) - (0 if sign in b'"_' else 1)
    if sign in b'"_':
        other = b"1" if lines[2][place : place + 1] != b"1" else b"2"
    lines[2] = lines[2][:place] + other + lines[2][place + 1 :]
    assert bad_line(report_on(tmp_path, lines)) == ("0", 3)


def test_what_is_cut_off_at_the_end_shows_in_the_missing_closing_record(tmp_path: Path) -> None:
    report = report_on(tmp_path, three_chains()[:-1])
    assert report.bad is None
    assert "no closing record" in remarks(report)
    assert "seq 2 (" in remarks(report)


def test_a_record_after_the_closing_one_is_bad(tmp_path: Path) -> None:
    lines: list[bytes] = []
    writer = Writer()
    writer.write(lines, "audit_closed")
    writer.write(lines)
    report = report_on(tmp_path, lines)
    assert bad_line(report) == ("0", 2)
    assert report.bad is not None and "closing record" in report.bad.text


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        (b"", "not JSON"),
        (b"hello", "not JSON"),
        (b"{}", "does not end with `chain`"),
        (b'{"id":"evt_1"}', "does not end with `chain`"),
        (b'{"id":"evt_1",,', "not JSON"),
        (b"x" * (MAX_LINE_BYTES + 10), "longer than 1 MiB"),
        (b"\xff\xfe", "not JSON"),
        (b"{}\0", "does not end with `chain`"),
        (b"x\0", "not JSON"),
        (b"[" * 100_000, "no audit record"),
    ],
)
def test_what_is_no_record_is_bad(tmp_path: Path, line: bytes, problem: str) -> None:
    lines = one_chain()
    report = report_on(tmp_path, [*lines[:2], line, *lines[2:]])
    assert bad_line(report) == ("0", 3)
    assert report.bad is not None and problem in report.bad.text


@pytest.mark.parametrize("left", [b'{"id":"evt_1', b"{", b""])
def test_zeros_that_a_power_loss_leaves_are_a_remark(tmp_path: Path, left: bytes) -> None:
    lines = [*three_chains((1, 2), close=False), left + bytes(100)]
    Writer(number=3).write(lines, "audit_closed")
    report = report_on(tmp_path, lines)
    assert report.bad is None
    assert "breaks off" in remarks(report)


@pytest.mark.parametrize("ocsf", [False, True])
def test_a_record_that_breaks_off_is_a_remark_wherever_it_does(tmp_path: Path, ocsf: bool) -> None:
    whole = Writer(number=9, ocsf=ocsf).write([])
    for length in [*range(1, 20), *range(20, len(whole), 7), *range(len(whole) - 5, len(whole))]:
        lines = three_chains((1, 2), close=False)
        lines.append(whole[:length])
        Writer(number=3).write(lines, "audit_closed")
        report = report_on(tmp_path, lines)
        assert report.bad is None, (length, report.bad)
        assert "breaks off" in remarks(report)


def test_a_record_cut_short_after_the_fact_is_missed(tmp_path: Path) -> None:
    lines = one_chain()
    lines[2] = lines[2][:50]
    assert bad_line(report_on(tmp_path, lines)) == ("0", 4)
    lines = three_chains((1, 2, 3), close=False)
    lines[1] = lines[1][:50]
    assert bad_line(report_on(tmp_path, lines)) == ("0", 3)


def rotated(*, ocsf: bool = False) -> tuple[list[bytes], list[bytes], list[bytes]]:
    """Two writers in three files, the second of which only one of them writes into."""
    files: tuple[list[bytes], ...] = ([], [], [])
    one, two = Writer(number=1, ocsf=ocsf), Writer(number=2, ocsf=ocsf)
    for writer in (one, two, one, two):
        writer.write(files[0])
    for _ in range(3):
        two.write(files[1])
    for writer in (one, two, one):
        writer.write(files[2])
    for writer in (one, two):
        writer.write(files[2], "audit_closed")
    return files[0], files[1], files[2]


@pytest.mark.parametrize("ocsf", [False, True])
def test_a_chain_goes_on_across_files(tmp_path: Path, ocsf: bool) -> None:
    report = report_on(tmp_path, *rotated(ocsf=ocsf))
    assert (report.bad, report.remarks, report.files, report.chains) == (None, [], 3, 2)


def test_an_older_file_that_is_not_given_is_a_remark(tmp_path: Path) -> None:
    _, second, third = rotated()
    report = report_on(tmp_path, second, third)
    assert report.bad is None
    assert len(report.remarks) == 2
    assert "goes on here with seq 3, from a file that was not given" in remarks(report)


def test_a_file_missing_in_the_middle_is_missed(tmp_path: Path) -> None:
    first, second, third = rotated()
    report = report_on(tmp_path, first, third)
    assert bad_line(report) == ("1", 2)
    assert report.bad is not None and "3 missing before it" in report.bad.text
    assert bad_line(report_on(tmp_path, second, first, third)) == ("1", 2)
    assert bad_line(report_on(tmp_path, first, first)) == ("1", 1)


def test_a_file_that_nothing_ties_to_the_ones_before_it_is_remarked_on(tmp_path: Path) -> None:
    report = report_on(tmp_path, one_chain(), three_chains((4, 5)), three_chains((6,)))
    assert report.bad is None
    assert [(Path(note.place.file).name, note.place.line) for note in report.remarks] == [("1", 1), ("2", 1)]
    assert "nothing ties this file" in remarks(report)


def test_lines_missing_at_either_end_of_a_rotated_file_are_missed(tmp_path: Path) -> None:
    first, second, third = rotated()
    assert bad_line(report_on(tmp_path, first[:-1], second, third)) == ("1", 1)
    assert bad_line(report_on(tmp_path, first[1:], second, third)) == ("0", 1)
    assert bad_line(report_on(tmp_path, second[1:], third)) == ("0", 1)
    assert bad_line(report_on(tmp_path, first, second, third[1:])) == ("2", 1)


def test_lines_put_in_are_found(tmp_path: Path) -> None:
    lines = three_chains((1, 1, 1, 1))
    foreign = Writer(number=7)
    forged = [foreign.write([b"x"]), *lines]
    assert bad_line(report_on(tmp_path, forged)) == ("0", 1)
    forged = lines[:2]
    foreign = Writer(number=7)
    foreign.write(forged)
    assert bad_line(report_on(tmp_path, [*forged, *lines[2:]])) == ("0", 4)
    untied = Writer(number=8, tied=False).write([])
    assert bad_line(report_on(tmp_path, [*lines[:2], untied, *lines[2:]])) == ("0", 4)


def test_a_whole_other_log_put_behind_is_found(tmp_path: Path) -> None:
    assert bad_line(report_on(tmp_path, [*one_chain(), *three_chains((4, 5))])) == ("0", 7)


def test_standard_output_has_its_chains_and_no_order_between_them(tmp_path: Path) -> None:
    lines: list[bytes] = []
    writers = [Writer(number=number, tied=False) for number in (1, 2)]
    for _ in range(3):
        for writer in writers:
            writer.write(lines)
    assert report_on(tmp_path, lines).bad is None
    assert report_on(tmp_path, [lines[1], lines[0], *lines[2:]]).bad is None
    assert bad_line(report_on(tmp_path, [*lines[:2], *lines[3:]])) == ("0", 4)
    assert report_on(tmp_path, lines[:3], lines[3:]).bad is None


def test_files_in_one_stream_are_read_as_such(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = b"".join(joined(lines) for lines in rotated())

    class Stdin:
        buffer = io.BufferedReader(io.BytesIO(whole))

    monkeypatch.setattr(sys, "stdin", Stdin)
    report = verify(["-"])
    assert (report.bad, report.remarks, report.files) == (None, [], 3)
    (tmp_path / "joined").write_bytes(whole)
    report = verify([str(tmp_path / "joined")])
    assert report.bad is not None and "first line of its file" in report.bad.text


def test_compressed_files_are_read_and_broken_ones_are_bad(tmp_path: Path) -> None:
    packed = gzip.compress(joined(one_chain()))
    (tmp_path / "log.gz").write_bytes(packed)
    assert verify([str(tmp_path / "log.gz")]).records == 6
    (tmp_path / "cut.gz").write_bytes(packed[:-30])
    report = verify([str(tmp_path / "cut.gz")])
    assert report.bad is not None and "decompressed" in report.bad.text
    changed = bytearray(packed)
    changed[len(packed) // 2] ^= 255
    (tmp_path / "changed.gz").write_bytes(changed)
    assert verify([str(tmp_path / "changed.gz")]).bad is not None


def test_a_last_line_without_a_line_feed_is_read(tmp_path: Path) -> None:
    (tmp_path / "log").write_bytes(joined(one_chain())[:-1])
    assert (verify([str(tmp_path / "log")]).bad, verify([str(tmp_path / "log")]).records) == (None, 6)


def test_more_chains_than_there_can_be_do_not_fill_the_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(verification, "MAX_CHAINS", 2)
    assert bad_line(report_on(tmp_path, three_chains((1, 2, 3)))) == ("0", 3)


def test_progress_is_told_while_reading(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(verification, "_TOLD_EVERY_LINES", 2)
    (tmp_path / "log").write_bytes(joined(one_chain()))
    told: list[int] = []
    verify([str(tmp_path / "log")], progress=lambda _name, size: told.append(size))
    assert len(told) == 3
    assert told[-1] == (tmp_path / "log").stat().st_size
