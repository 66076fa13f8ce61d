"""TLS: whether certificate and key can be used, and noticing that they were renewed.

Worker processes never read the operator's files, which may hold anything by the time that a worker is started: they
read copies in a folder of our own, where only a pair that can be used is put. The operator's files are looked at every
two seconds, by their contents, so that a rename and Kubernetes' swap of a symlink are the same. A new pair is taken up
once it has stayed the same from one look to the next and can be used; until then the old one stays in force, and the
log says why.
"""

import hashlib
import logging
import os
import ssl
import threading
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from cryptography.x509 import load_pem_x509_certificates

from kalguard.decision.unforeseen import UNFORESEEN
from kalguard.errors import ConfigError

LOOK_SECONDS = 2.0
_log = logging.getLogger(__name__)


class _Pair(NamedTuple):
    """The contents of two files. They are read once, so that what is checked is what is taken up."""

    certificate: bytes
    key: bytes

    def mark(self) -> str:
        """Two pairs with one mark are the same."""
        return hashlib.sha256(b"".join(hashlib.sha256(part).digest() for part in self)).hexdigest()


def check_pair(cert_path: str, key_path: str) -> None:
    """Look whether a certificate and a key can be used together. Raises `ConfigError` naming the variable."""
    _check(_read_pair(cert_path, key_path), (cert_path, key_path), kept_in=(cert_path, key_path))


class CertificateWatch:
    """Keeps copies of certificate and key in `folder`, at `paths`, and puts a new pair there that can be used.

    Raises `ConfigError` naming the variable if the first pair cannot be used, `OSError` if it cannot be copied.
    """

    def __init__(self, cert_path: str, key_path: str, folder: Path) -> None:
        self.paths = (folder / "cert.pem", folder / "key.pem")
        self._given = (cert_path, key_path)
        pair = _read_pair(*self._given)
        self._take_up(pair)
        self._settled = self._seen = pair.mark()
        self._stopped = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self, renewed: Callable[[], None]) -> None:
        """Begin to look, in a thread; `renewed` is called when there is a new pair at `paths`."""
        self._thread = threading.Thread(target=self._run, args=(renewed,), name="certificates", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Look no more."""
        self._stopped.set()
        if self._thread is not None:
            self._thread.join()

    def look(self) -> bool:
        """Look once. Whether there is a new pair at `paths`. Raises `OSError` if it cannot be copied."""
        pair: _Pair | ConfigError
        try:
            pair = _read_pair(*self._given)
            mark = pair.mark()
        except ConfigError as error:
            pair, mark = error, f"unreadable: {error}"
        steady, self._seen = mark == self._seen, mark
        if not steady or mark == self._settled:
            return False
        try:
            if isinstance(pair, ConfigError):
                raise pair
            self._take_up(pair)
        except ConfigError as error:
            self._settled = mark
            _log.error("%s; the certificate before stays in force", error)
            return False
        self._settled = mark
        _log.info("certificate was renewed")
        return True

    def _run(self, renewed: Callable[[], None]) -> None:
        works = True
        while not self._stopped.wait(LOOK_SECONDS):
            try:
                if self.look():
                    renewed()
                works = True
            except UNFORESEEN as error:  # nothing is decided here; who looks no more would let the certificate expire
                if works:
                    _log.error("certificate cannot be looked at; the one before stays in force", exc_info=error)
                works = False

    def _take_up(self, pair: _Pair) -> None:
        new = (self.paths[0].with_suffix(".new"), self.paths[1].with_suffix(".new"))
        for path, content in zip(new, pair, strict=True):
            path.unlink(missing_ok=True)
            path.touch(mode=0o600)
            path.write_bytes(content)
        _check(pair, self._given, kept_in=(str(new[0]), str(new[1])))
        # A worker that is started between the two renames ends, and the next finds both.
        for path, place in zip(new, self.paths, strict=True):
            os.replace(path, place)


def _check(pair: _Pair, named: tuple[str, str], *, kept_in: tuple[str, str]) -> None:
    cert_path, key_path = named
    try:
        load_pem_x509_certificates(pair.certificate)
    except ValueError:
        raise ConfigError([f"KALGUARD_TLS_CERT_PATH: `{cert_path}` is not a certificate in PEM"]) from None
    if b"-----BEGIN PRIVATE KEY-----" not in pair.key:
        hint = "`openssl pkcs8 -topk8 -nocrypt` makes one"
        raise ConfigError([f"KALGUARD_TLS_KEY_PATH: `{key_path}` is not a key in PEM, PKCS#8; {hint}"])
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(*kept_in)
    except (ssl.SSLError, OSError):
        problem = f"`{key_path}` is not the key of the certificate in KALGUARD_TLS_CERT_PATH"
        raise ConfigError([f"KALGUARD_TLS_KEY_PATH: {problem}"]) from None


def _read_pair(cert_path: str, key_path: str) -> _Pair:
    return _Pair(_read("KALGUARD_TLS_CERT_PATH", cert_path), _read("KALGUARD_TLS_KEY_PATH", key_path))


def _read(variable: str, path: str) -> bytes:
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise ConfigError([f"{variable}: `{path}` cannot be read: {error.strerror}"]) from None
