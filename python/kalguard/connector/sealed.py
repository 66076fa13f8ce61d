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
_LEAST_ROOM_BYTES = 65_536


class Unreadable(KalGuardError):
    """What is there was not sealed with this key for this purpose, or was changed since."""


class SealedFile:
    """The file at `path`, sealed with `secret` for `purpose`."""

    def __init__(self, path: Path, *, secret: str, purpose: str) -> None:
        self.path = path
        self._secret = secret.encode()
        self._purpose = _MAGIC + purpose.encode()
        self._new = path.with_name(f"{path.name}.new")
        self._room: tuple[int, int] | None = None  # device and number of the file that was set aside

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
        """Put other content in its place, all at once and lastingly. Raises `OSError`, and then nothing is changed.

        The room for it was set aside with the write before, if there was one: a disk that is full since then is no
        reason to miss what has to be written.
        """
        salt, nonce = secrets.token_bytes(_SALT_BYTES), secrets.token_bytes(_NONCE_BYTES)
        whole = _MAGIC + salt + nonce + self._cipher(salt).encrypt(nonce, content, self._purpose)
        try:
            fd = self._room_taken()
            with os.fdopen(self._new_file() if fd is None else fd, "wb") as file:
                file.write(whole)
                file.truncate()
                file.flush()
                os.fsync(file.fileno())
            self._new.replace(self.path)
        except OSError:
            with suppress(OSError):
                self._new.unlink()
            raise
        self._set_room_aside(max(_LEAST_ROOM_BYTES, 2 * len(whole)))

    def _new_file(self) -> int:
        """Raises `OSError`."""
        with suppress(FileNotFoundError):
            self._new.unlink()
        return os.open(self._new, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)

    def _set_room_aside(self, size: int) -> None:
        with suppress(OSError):  # as much as there is
            fd = self._new_file()
            try:
                found = os.fstat(fd)
                self._room = found.st_dev, found.st_ino
                os.posix_fallocate(fd, 0, size)
            finally:
                os.close(fd)

    def _room_taken(self) -> int | None:
        """The file that was set aside, if that is what lies there still."""
        room, self._room = self._room, None
        if room is None:
            return None
        with suppress(OSError):
            fd = os.open(self._new, os.O_WRONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
            found = os.fstat(fd)
            if (found.st_dev, found.st_ino) == room:
                return fd
            os.close(fd)
        return None

    def _cipher(self, salt: bytes) -> AESGCM:
        return AESGCM(HKDF(SHA256(), 32, salt, b"kalguard state").derive(self._secret))
