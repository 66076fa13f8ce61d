"""Which tokens have been withdrawn: a list of SHA-256 digests, one a line."""

import re
from collections.abc import Callable

from kalguard.errors import ConfigError, Unavailable

_DIGEST = re.compile(r"[0-9a-f]{64}")


def load_revocations(document: bytes) -> Callable[[str], bool]:
    """Read a list of revoked tokens: what it gives says whether a token's SHA-256, in hex, is on it.

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
    return frozenset(digests).__contains__


def unknown_revocations(token_hash: str) -> bool:
    """Stand in for a list that cannot be read: a token that might be on it must not pass. Raises `Unavailable`."""
    raise Unavailable("list of revoked tokens cannot be loaded")
