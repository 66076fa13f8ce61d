"""Which tokens have been withdrawn: the operator's list of SHA-256 digests, one a line, and Cloud's."""

import re
from collections.abc import Callable

import msgspec

from kalguard.errors import ConfigError, Unavailable

_DIGEST = re.compile(r"[0-9a-f]{64}")


class Revocations(msgspec.Struct, frozen=True):
    """A list of revoked tokens. Called, it says whether a token's SHA-256, in hex, is on it."""

    digests: frozenset[str] = frozenset()

    def __call__(self, token_hash: str) -> bool:
        return token_hash in self.digests


class Digests:
    """Revoked tokens as Cloud names them: SHA-256 digests, 32 bytes each, one after the other. Called like the list."""

    def __init__(self, digests: bytes) -> None:
        self._digests = frozenset(digests[at : at + 32] for at in range(0, len(digests), 32))

    def __len__(self) -> int:
        return len(self._digests)

    def __call__(self, token_hash: str) -> bool:
        return bytes.fromhex(token_hash) in self._digests


class Either:
    """Two lists: a token is revoked if it is on one of them."""

    def __init__(self, first: Callable[[str], bool], second: Callable[[str], bool]) -> None:
        self._lists = (first, second)

    def __call__(self, token_hash: str) -> bool:
        return any(is_revoked(token_hash) for is_revoked in self._lists)


def load_revocations(document: bytes) -> Revocations:
    """Read a list of revoked tokens.

    Blank lines and what follows a `#` are passed over. Raises `ConfigError` naming the first line that is neither.
    """
    try:
        lines = document.decode().splitlines()
    except UnicodeDecodeError:
        raise ConfigError(["list of revoked tokens is not UTF-8"]) from None
    digests = set()
    for number, line in enumerate(lines, start=1):
        digest = line.partition("#")[0].strip().lower()
        if not digest:
            continue
        if not _DIGEST.fullmatch(digest):
            raise ConfigError([f"line {number} is not a SHA-256 in hex"])
        digests.add(digest)
    return Revocations(frozenset(digests))


def unknown_revocations(token_hash: str) -> bool:
    """Stand in for a list that cannot be read: a token that might be on it must not pass. Raises `Unavailable`."""
    raise Unavailable("list of revoked tokens cannot be loaded")
