"""A file that only who has the API key can read or make: AES-256-GCM under a key derived from it (HKDF-SHA256).

It is bound to its purpose and to the Cloud it is about, so that none is taken for another. Whoever can write to the
folder can still put an older one in its place.
"""

import os
import secrets
from contextlib import suppress
from pathlib import Path

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from kalguard.errors import KalGuardError

_MAGIC = b"kalguard sealed 1\n"
_SALT_BYTES = 16
_NONCE_BYTES = 12


class Unreadable(KalGuardError):
    """What is there was not sealed with this key for this purpose, or was changed since."""


class SealedFile:
    """The file at `path`, sealed with `secret` for `purpose`."""

    def __init__(self, path: Path, *, secret: str, purpose: str) -> None:
        self.path = path
        self._secret = secret.encode()
        self._purpose = _MAGIC + purpose.encode()

    def read(self) -> bytes:
        """What was written last. Raises `OSError` (`FileNotFoundError` where nothing was) and `Unreadable`."""
        whole = self.path.read_bytes()
        salt_at, nonce_at = len(_MAGIC), len(_MAGIC) + _SALT_BYTES
        text_at = nonce_at + _NONCE_BYTES
        if not whole.startswith(_MAGIC) or len(whole) < text_at:
            raise Unreadable(f"`{self.path}` is of another kind")
        try:
            return self._cipher(whole[salt_at:nonce_at]).decrypt(
                whole[nonce_at:text_at], whole[text_at:], self._purpose
            )
        except InvalidTag:
            raise Unreadable(f"`{self.path}` is not of this API key and Cloud, or was changed") from None

    def write(self, content: bytes) -> None:
        """Put other content in its place, all at once and lastingly. Raises `OSError`, and then nothing is changed."""
        salt, nonce = secrets.token_bytes(_SALT_BYTES), secrets.token_bytes(_NONCE_BYTES)
        whole = _MAGIC + salt + nonce + self._cipher(salt).encrypt(nonce, content, self._purpose)
        new = self.path.with_name(f"{self.path.name}.new")
        try:
            with suppress(FileNotFoundError):
                new.unlink()
            fd = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
            with os.fdopen(fd, "wb") as file:
                file.write(whole)
                file.flush()
                os.fsync(file.fileno())
            new.replace(self.path)
        except OSError:
            with suppress(OSError):
                new.unlink()
            raise

    def _cipher(self, salt: bytes) -> AESGCM:
        return AESGCM(HKDF(SHA256(), 32, salt, b"kalguard state").derive(self._secret))
