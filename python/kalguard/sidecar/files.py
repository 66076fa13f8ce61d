"""The files that the operator can change while the service runs: policy, tools, patterns, revoked tokens.

A `LiveFile` holds what the last good version of a file says. A bad version never replaces a good one; a file that was
bad from the start leaves the fallback in force, which denies, until it becomes good. Change is found by comparing the
SHA-256 of what the path leads to now, so that an editor's rename, Kubernetes' swap of a symlink and a file that
appears later are all the same. A new version is taken up once it has stayed the same from one look to the next, so
that a half-written one is not. When to look is said by a `FolderWatch`; since not every file system tells what
happens on it, it is also looked now and then without being told.
"""

import asyncio
import hashlib
import logging
import os
from collections.abc import Callable
from pathlib import Path
from typing import Generic, TypeVar

import msgspec

from kalguard.errors import KalGuardError

MAX_FILE_BYTES = 16 * 1024 * 1024
_T = TypeVar("_T")
_log = logging.getLogger(__name__)


class Change(msgspec.Struct, frozen=True):
    """A new version of a file was taken up, or (with a `problem`) refused. `digest` is its SHA-256, if it was read."""

    file: str
    digest: str | None
    problem: str | None


class _Look(msgspec.Struct, frozen=True):
    """What a path led to. Two looks with one `mark` saw the same."""

    mark: str
    content: bytes | None
    problem: str | None


class LiveFile(Generic[_T]):
    """What a file says. `load` raises `KalGuardError`; `fallback` is in force until it succeeds once.

    `problem` says what was wrong with the version found at the start, if anything was.
    """

    def __init__(self, name: str, variable: str, path: str, *, load: Callable[[bytes], _T], fallback: _T) -> None:
        self.name = name
        self._variable = variable
        self._path = path
        self._load = load
        self._value = fallback
        self._usable = False
        look = self._look()
        self._seen = look.mark
        self.problem = self._take_up(look.mark, self._read(look))

    def __call__(self) -> _T:
        """What is in force now. Replaced as a whole, between two requests."""
        return self._value

    def is_usable(self) -> bool:
        """Whether some version of the file could be taken up, now or earlier."""
        return self._usable

    @property
    def is_settled(self) -> bool:
        """Whether what was seen last is what was taken up or refused last."""
        return self._seen == self._settled

    @property
    def folders(self) -> set[str]:
        """Where something happens when the file changes: where its path is, and where that leads to."""
        path = Path(self._path)
        return {str(path.absolute().parent), os.path.dirname(os.path.realpath(path))}

    async def refresh(self) -> Change | None:
        """Look at the file, and take it up if it has changed and stayed so since the last look.

        Reading and compiling are done in a thread; requests go on meanwhile.
        """
        look = await asyncio.to_thread(self._look)
        steady, self._seen = look.mark == self._seen, look.mark
        if not steady or look.mark == self._settled:
            return None
        problem = self._take_up(look.mark, await asyncio.to_thread(self._read, look))
        return Change(self.name, None if look.content is None else look.mark, problem)

    def _look(self) -> _Look:
        try:
            with open(self._path, "rb") as file:
                content = file.read(MAX_FILE_BYTES + 1)
        except OSError as error:
            return _Look(f"unreadable: {error.errno}", None, f"cannot be read: {error.strerror}")
        if len(content) > MAX_FILE_BYTES:
            return _Look("too large", None, f"is larger than {MAX_FILE_BYTES} bytes")
        return _Look(hashlib.sha256(content).hexdigest(), content, None)

    def _read(self, look: _Look) -> tuple[_T | None, str | None]:
        """The value of a version, or what is wrong with it."""
        if look.content is None:
            return None, look.problem
        try:
            return self._load(look.content), None
        except KalGuardError as error:
            return None, str(error)

    def _take_up(self, mark: str, read: tuple[_T | None, str | None]) -> str | None:
        self._settled = mark
        value, problem = read
        if problem is None and value is not None:
            self._value, self._usable = value, True
            return None
        kept = "the version before stays in force" if self._usable else "what depends on it is denied"
        _log.error("%s: `%s` %s; %s", self._variable, self._path, problem, kept)
        return problem
