"""`verify`: whether the lines of an audit log are those that were written, all of them, in their order.

Reads each line once and keeps only what the next ones are compared with: per chain its last record, per file its last
line. What is found is either bad, and ends the reading, or a remark: something that happens without anybody's doing
(a killed writer, a file that was not given) and that a reader should know.
"""

import gzip
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import datetime, timedelta

import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from kalguard.records.chain import CLOSING_TYPE, NO_PREDECESSOR, Link, NoDigest, NoRecord, digest_of, read_link
from kalguard.records.reader import MAX_LINE_BYTES, STDIN, open_log, read_lines

MAX_CHAINS = 250_000
LONGEST_UNSIGNED = timedelta(minutes=5)  # a checkpoint is due after one minute
_MAX_REMARKS = 1000
_TOLD_EVERY_LINES = 20_000


class Place(msgspec.Struct, frozen=True):
    """A line: the file as it was named, and its number from 1."""

    file: str
    line: int

    def __str__(self) -> str:
        return f"{self.file}:{self.line}"


class Note(msgspec.Struct, frozen=True):
    """Something to be told about a line."""

    place: Place
    text: str


class Report(msgspec.Struct):
    """What came of a verification. `bad` is the first line that is not as it was written, if there is one.

    `chains` counts the writers, `signed` the signatures found good, `unchecked` those that nobody gave a key for.
    """

    files: int = 0
    lines: int = 0
    records: int = 0
    chains: int = 0
    signed: int = 0
    unchecked: int = 0
    bad: Note | None = None
    remarks: list[Note] = []
    remarks_left_out: int = 0

    def remark(self, place: Place, text: str) -> None:
        """Note something; beyond a number it is only counted."""
        if len(self.remarks) < _MAX_REMARKS:
            self.remarks.append(Note(place, text))
        else:
            self.remarks_left_out += 1


class _Seen(msgspec.Struct, frozen=True):
    """A line that later ones refer to. A fragment has no `link`."""

    place: Place
    digest: bytes
    link: Link | None


class _Bad(Exception):
    """A line is bad: this one, or the `earlier` one that it does not fit. Whether `this` is whole may decide that."""

    def __init__(self, problem: str, earlier: _Seen | None = None, *, this: Link | None = None) -> None:
        super().__init__(problem)
        self.problem = problem
        self.earlier = earlier
        self.this = this


class _Chain(msgspec.Struct):
    """How far a chain has come: its last record, in which file, and in which stretch of lines that are tied together.

    One that is `tied` says what it comes after in its file. `unsigned` is the first record after its last signature,
    `loose` counts those of its records, from `loose_from` on, that no signature of any chain stands behind.
    """

    last: _Seen
    timestamp: str
    file: int
    stretch: int
    tied: bool
    unsigned: tuple[Place, str] | None = None
    loose: int = 0
    loose_from: Place | None = None


def verify(
    files: Iterable[str],
    keys: Sequence[Ed25519PublicKey] = (),
    *,
    progress: Callable[[str, int], None] = lambda _name, _bytes: None,
) -> Report:
    """Read the files, the oldest first, up to the first bad line. Raises `OSError`.

    With `keys`, what a writer with a key signs has to be signed by one of them. `progress` is told now and then how
    many bytes of which file have been read, after decompression.
    """
    verifier = _Verifier(keys)
    for name in files:
        with open_log(name) as stream:
            bad = _bad_line(verifier, name, _told(read_lines(stream), name, progress))
        if bad is not None:
            verifier.report.bad = bad
            return verifier.report
    verifier.finish()
    return verifier.report


def _told(lines: Iterator[bytes], name: str, progress: Callable[[str, int], None]) -> Iterator[bytes]:
    size = 0
    for number, line in enumerate(lines, start=1):
        size += len(line)
        if number % _TOLD_EVERY_LINES == 0:
            progress(name, size)
        yield line


def _bad_line(verifier: "_Verifier", name: str, lines: Iterator[bytes]) -> Note | None:
    """The first bad line of a file."""
    place = Place(name, 0)
    verifier.start_file()
    try:
        for line in lines:
            place = Place(name, place.line + 1)
            verifier.take(place, line)
    except _Bad as bad:
        return _blame(place, bad, lines)
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        return Note(Place(name, place.line + 1), f"cannot be decompressed any further: {error}")
    return None


def _blame(place: Place, bad: _Bad, rest: Iterator[bytes]) -> Note:
    """Which of two lines that do not fit was changed: what follows confirms the other one."""
    earlier = bad.earlier
    if earlier is None:
        return Note(place, bad.problem)
    changed = f"this line was changed: it is not the one that {place} was written after"
    if bad.this is not None:  # `prev` is wrong
        this_is_whole = _is_confirmed(bad.this, rest, is_next=True)
        return Note(place, bad.problem) if this_is_whole is False else Note(earlier.place, changed)
    if earlier.link is not None and _is_confirmed(earlier.link, rest) is False:
        return Note(earlier.place, changed)
    return Note(place, bad.problem)


def _is_confirmed(record: Link, rest: Iterator[bytes], *, is_next: bool = False) -> bool | None:
    """Whether the record after this one in its chain has its digest; `None` where there is no such record.

    `is_next` says that the first line of the rest comes right after that one, so that it can tell as well.
    """
    try:
        for line in rest:
            try:
                link = read_link(line.rstrip(b"\n"))
            except NoRecord:
                link = None
            if link is not None and link.chain == record.chain:
                return link.prev == record.digest if link.seq == record.seq + 1 else None
            if link is not None and is_next and isinstance(link.after, bytes):
                return link.after == record.digest
            is_next = False
    except (EOFError, zlib.error, gzip.BadGzipFile):
        pass
    return None


class _Verifier:
    """Takes lines one by one."""

    def __init__(self, keys: Sequence[Ed25519PublicKey]) -> None:
        self.report = Report()
        self._keys = keys
        self._chains: dict[str, _Chain | None] = {}  # `None` once closed
        self._loose: set[str] = set()
        self._before: _Seen | None = None
        self._first: Place | None = None  # the first record of the file, until a chain from an older one goes on
        self._stretch = 0

    def start_file(self) -> None:
        """The next line is the first one of a file."""
        self._end_file()
        self.report.files += 1
        self._stretch += 1
        self._before = None

    def _end_file(self) -> None:
        """Say so if files could have been taken away before the one that ends."""
        if self._first is not None and self.report.files > 1:
            self.report.remark(self._first, "nothing ties this file to the ones given before it")
        self._first = None

    def take(self, place: Place, raw: bytes) -> None:
        """Look at a line with its line feed. Raises `_Bad`."""
        self.report.lines += 1
        if len(raw) > MAX_LINE_BYTES:
            raise _Bad("no audit record: longer than 1 MiB")
        line = raw.removesuffix(b"\n")
        try:
            link = read_link(line)
        except NoRecord as objection:
            if not objection.is_fragment:
                raise _Bad(str(objection)) from None
            self.report.remark(place, "a record that breaks off: its writer was killed, or the machine lost power")
            self._before = _Seen(place, digest_of(line), None)
            self._stretch += 1
            return
        if link.after is NoDigest.EMPTY_FILE and place.file == STDIN and self._before is not None:
            self.start_file()  # several files in one stream
        self._follow(_Seen(place, link.digest, link), link)
        self.report.records += 1

    def finish(self) -> None:
        """Say what the end of the last file leaves open."""
        self._end_file()
        for name, chain in self._chains.items():
            if chain is not None:
                self._finish_chain(name, chain)

    def _finish_chain(self, name: str, chain: _Chain) -> None:
        seq = 0 if chain.last.link is None else chain.last.link.seq
        self.report.remark(
            chain.last.place,
            f"{name} has no closing record: its writer is still running, or was killed, or what came after "
            f"seq {seq} ({chain.timestamp}) was taken away",
        )
        if chain.loose_from is not None:
            last = f"the last {chain.loose} records" if chain.loose > 1 else "the last record"
            self.report.remark(chain.loose_from, f"no signature stands behind {last} of {name}, from here on")
        if chain.unsigned is not None:
            place, since = chain.unsigned
            span = datetime.fromisoformat(chain.timestamp) - datetime.fromisoformat(since)
            if span > LONGEST_UNSIGNED:
                self.report.remark(
                    place, f"{name} is not signed from here on, over {span}: a checkpoint is due after a minute"
                )

    def _follow(self, seen: _Seen, link: Link) -> None:
        """Compare a record with what came before it. Raises `_Bad`."""
        known = link.chain in self._chains
        chain = self._chains.get(link.chain)
        if known and chain is None:
            raise _Bad(f"a record of {link.chain} after its closing record")
        if self._before is None:
            self._first = seen.place
        if chain is None:
            self._check_beginning(seen.place, link)
        else:
            self._first = self._first if chain.file == self.report.files else None
            # What stood between the two was written after the earlier one, and fitted it.
            is_settled = chain.tied and chain.file == self.report.files and self._before is not chain.last
            _check_succession(chain.last, link, is_settled=is_settled)
        self._check_place(chain, link)
        if chain is None:
            tied = link.after is not NoDigest.ABSENT
            chain = _Chain(seen, link.timestamp, self.report.files, self._stretch, tied)
            self._chains[link.chain] = chain
            self.report.chains += 1
        chain.last, chain.timestamp = seen, link.timestamp
        chain.file, chain.stretch = self.report.files, self._stretch
        self._check_signature(chain, link)
        self._before = seen
        if link.type == CLOSING_TYPE:
            self._chains[link.chain] = None
            self._loose.discard(link.chain)

    def _check_beginning(self, place: Place, link: Link) -> None:
        """Of the first record of a chain."""
        if len(self._chains) >= MAX_CHAINS:
            raise _Bad(f"more than {MAX_CHAINS} chains")
        if link.seq == 1 and link.prev != NO_PREDECESSOR:
            raise _Bad(f"`prev` of the first record of {link.chain} is not zeros")
        if link.seq > 1 and link.after is NoDigest.ABSENT:
            raise _Bad(f"{link.chain} begins here with seq {link.seq}: what it wrote before in this file is missing")
        if link.seq > 1:
            self.report.remark(
                place,
                f"{link.chain} goes on here with seq {link.seq}, from a file that was not given (or was taken away)",
            )

    def _check_place(self, chain: _Chain | None, link: Link) -> None:
        """Whether a record stands where it was written in its file."""
        before = self._before
        if link.after is NoDigest.EMPTY_FILE:
            if before is not None:
                raise _Bad("`after` says that this was the first line of its file, which it is not")
        elif link.after is NoDigest.ABSENT:
            self._check_adjoining(chain)
        elif before is None:
            raise _Bad("`after` says that a line came before this one in its file, and it is missing")
        elif link.after != before.digest:
            raise _Bad(
                f"`after` is not the hash of the line before, {before.place}: lines between the two are missing, "
                "or one of the two was changed or moved",
                before,
            )

    def _check_adjoining(self, chain: _Chain | None) -> None:
        """Of a record without `after`: that its chain's record before is the line before, unless it is not tied."""
        if chain is None or not chain.tied:
            return
        if chain.file != self.report.files:
            raise _Bad("the first record of its chain in this file has no `after`: what came before it is missing")
        if self._before is not chain.last:
            raise _Bad(f"not the line that came after {chain.last.place}: lines in between were put in or moved")

    def _check_signature(self, chain: _Chain, link: Link) -> None:
        """That what has to be signed is, if there are keys; and keep account of what is not vouched for."""
        if not self._keys:
            self.report.unchecked += link.signature is not None
            return
        if link.signature is None:
            if link.has_to_be_signed:
                raise _Bad("not signed, though this record has to be")
            if chain.unsigned is None:
                chain.unsigned = (chain.last.place, link.timestamp)
            if chain.loose == 0:
                chain.loose_from = chain.last.place
            chain.loose += 1
            self._loose.add(link.chain)
            return
        if not link.is_signed_by(self._keys):
            raise _Bad("the signature was not made by the key given, or the line was changed")
        self.report.signed += 1
        chain.unsigned = None
        self._vouch(link.chain, chain)

    def _vouch(self, name: str, signer: _Chain) -> None:
        """A signature stands behind what its chain wrote, and behind all lines that the signed one is tied to."""
        for other_name in list(self._loose):
            other = self._chains[other_name]
            tied = other is not None and other.tied and signer.tied and other.stretch == self._stretch
            if other is not None and (tied or other_name == name):
                other.loose, other.loose_from = 0, None
                self._loose.discard(other_name)


def _check_succession(last: _Seen, link: Link, *, is_settled: bool) -> None:
    """Whether a record is the one that comes after the last one of its chain, which may be settled to be whole."""
    seq = 0 if last.link is None else last.link.seq
    if link.seq <= seq:
        raise _Bad(f"seq {link.seq} of {link.chain} again or out of order: {last.place} has seq {seq}")
    if link.seq > seq + 1:
        raise _Bad(
            f"seq {link.seq} of {link.chain} after seq {seq} at {last.place}: {link.seq - seq - 1} missing before it"
        )
    if link.prev != last.digest:
        problem = f"`prev` is not the hash of {last.place}, the line of {link.chain} before"
        raise _Bad(problem, None if is_settled else last, this=link)
