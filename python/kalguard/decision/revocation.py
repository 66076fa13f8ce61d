"""Which tokens have been withdrawn: a list of SHA-256 digests, one a line."""

import re

import msgspec

from kalguard.errors import ConfigError, Unavailable

_DIGEST = re.compile(r"[0-9a-f]{64}")


class Revocations(msgspec.Struct, frozen=True):
    """A list of revoked tokens. Called, it says whether a token's SHA-256, in hex, is on it."""

    digests: frozenset[str] = frozenset()

    def __call__(self, token_hash: str) -> bool:
        return token_hash in self.digests


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
