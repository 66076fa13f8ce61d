"""What `verify` makes of signatures, and of their absence."""

from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from kalguard.records.verification import Report, verify
from tests.records.written import Writer, joined, key


def report_on(folder: Path, lines: list[bytes], *, keys: tuple[int, ...] = (1,)) -> Report:
    (folder / "log").write_bytes(joined(lines))
    public: list[Ed25519PublicKey] = [key(number).public_key() for number in keys]
    return verify([str(folder / "log")], public)


def signed_log(count: int = 2004, **options: bool) -> list[bytes]:
    """A chain with signatures at 1000 and 2000, and at its end."""
    lines: list[bytes] = []
    writer = Writer(signer=key(), **options)  # type: ignore[arg-type]
    for _ in range(count - 1):
        writer.now -= 0.45
        writer.write(lines)
    writer.write(lines, "audit_closed")
    return lines


@pytest.mark.parametrize("ocsf", [False, True])
def test_signatures_are_verified_where_there_is_a_key(tmp_path: Path, ocsf: bool) -> None:
    lines = signed_log(ocsf=ocsf)
    report = report_on(tmp_path, lines)
    assert (report.bad, report.remarks, report.signed, report.unchecked) == (None, [], 3, 0)
    report = report_on(tmp_path, lines, keys=(2, 1))
    assert (report.bad, report.signed) == (None, 3)
    report = report_on(tmp_path, lines, keys=())
    assert (report.bad, report.signed, report.unchecked) == (None, 0, 3)


def test_a_signature_of_somebody_else_is_bad(tmp_path: Path) -> None:
    report = report_on(tmp_path, signed_log(), keys=(2,))
    assert report.bad is not None
    assert (report.bad.place.line, "signature" in report.bad.text) == (1000, True)


def test_a_chain_that_was_written_anew_is_bad_at_the_first_signature(tmp_path: Path) -> None:
    lines: list[bytes] = []
    forger = Writer(signer=key(2))
    for _ in range(1001):
        forger.now -= 0.45
        forger.write(lines)
    assert report_on(tmp_path, lines, keys=()).bad is None
    report = report_on(tmp_path, lines)
    assert report.bad is not None and report.bad.place.line == 1000


@pytest.mark.parametrize(("kind", "count"), [("prompt_allowed", 1000), ("audit_checkpoint", 3), ("audit_closed", 3)])
def test_what_has_to_be_signed_and_is_not_is_bad(tmp_path: Path, kind: str, count: int) -> None:
    lines: list[bytes] = []
    writer = Writer()
    for _ in range(count - 1):
        writer.now -= 0.45
        writer.write(lines)
    writer.write(lines, kind)
    report = report_on(tmp_path, lines)
    assert report.bad is not None and report.bad.place.line == count
    assert "not signed" in report.bad.text
    assert report_on(tmp_path, lines, keys=()).bad is None


def test_records_that_nobody_signed_for_long_are_remarked_on(tmp_path: Path) -> None:
    lines: list[bytes] = []
    writer = Writer(signer=key())
    writer.write(lines, "audit_checkpoint")
    writer.write(lines)
    writer.now += 299
    writer.write(lines)
    report = report_on(tmp_path, lines)
    assert report.bad is None
    assert "no signature stands behind the last 2 records" in report.remarks[1].text
    assert (report.remarks[1].place.line, len(report.remarks)) == (2, 2)
    writer.now += 2
    writer.write(lines)
    report = report_on(tmp_path, lines)
    assert (report.bad, report.remarks[2].place.line) == (None, 2)
    assert "not signed from here on, over 0:05:02" in report.remarks[2].text
    writer.write(lines, "audit_checkpoint")
    assert len(report_on(tmp_path, lines).remarks) == 1


def test_a_signature_stands_behind_the_other_chains_of_the_file_too(tmp_path: Path) -> None:
    lines: list[bytes] = []
    killed, signer = Writer(number=1, signer=key()), Writer(number=2, signer=key())
    killed.write(lines)
    killed.write(lines)
    signer.write(lines, "audit_checkpoint")
    signer.write(lines)
    report = report_on(tmp_path, lines)
    texts = [note.text for note in report.remarks if "signature" in note.text]
    assert texts == [f"no signature stands behind the last record of {signer.chain}, from here on"]


def test_a_signature_says_nothing_of_what_it_is_not_tied_to(tmp_path: Path) -> None:
    lines: list[bytes] = []
    killed, signer = Writer(number=1, signer=key()), Writer(number=2, signer=key())
    killed.write(lines)
    lines.append(Writer(number=3).write([])[:100])
    signer.write(lines, "audit_checkpoint")
    assert "signature" in "".join(note.text for note in report_on(tmp_path, lines).remarks)
    untied: list[bytes] = []
    one, two = Writer(number=1, signer=key(), tied=False), Writer(number=2, signer=key(), tied=False)
    one.write(untied)
    two.write(untied, "audit_checkpoint")
    assert "signature" in "".join(note.text for note in report_on(tmp_path, untied).remarks)


def test_a_signature_that_was_taken_out_is_missed(tmp_path: Path) -> None:
    lines = signed_log(1005)
    line = lines[999]
    lines[999] = line[: line.index(b',"signature"')] + b"}"
    report = report_on(tmp_path, lines)
    assert report.bad is not None and report.bad.place.line == 1000
    report = report_on(tmp_path, lines, keys=())
    assert report.bad is not None and report.bad.place.line == 1000
