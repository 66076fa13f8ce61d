"""TLS: whether certificate and key can be used, and noticing that they were renewed.

The files are looked at every two seconds, by their contents, so that a rename and Kubernetes' swap of a symlink are the
same. A new pair is taken up once it has stayed the same from one look to the next and can be used; until then the old
one stays in force, and the log says why.
"""

import hashlib
import logging
import ssl
import threading
from collections.abc import Callable
from pathlib import Path

from cryptography.x509 import load_pem_x509_certificates

from kalguard.errors import ConfigError

LOOK_SECONDS = 2.0
_log = logging.getLogger(__name__)


def check_pair(cert_path: str, key_path: str) -> None:
    """Look whether a certificate and a key can be used together. Raises `ConfigError` naming the variable."""
    certificate = _read("KALGUARD_TLS_CERT_PATH", cert_path)
    key = _read("KALGUARD_TLS_KEY_PATH", key_path)
    try:
        load_pem_x509_certificates(certificate)
    except ValueError:
        raise ConfigError([f"KALGUARD_TLS_CERT_PATH: `{cert_path}` is not a certificate in PEM"]) from None
    if b"-----BEGIN PRIVATE KEY-----" not in key:
        hint = "`openssl pkcs8 -topk8 -nocrypt` makes one"
        raise ConfigError([f"KALGUARD_TLS_KEY_PATH: `{key_path}` is not a key in PEM, PKCS#8; {hint}"])
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(cert_path, key_path)
    except (ssl.SSLError, OSError):
        problem = f"`{key_path}` is not the key of the certificate in KALGUARD_TLS_CERT_PATH"
        raise ConfigError([f"KALGUARD_TLS_KEY_PATH: {problem}"]) from None


class CertificateWatch:
    """Calls `renew` when there is a new pair that can be used. `start` looks in a thread until `stop`."""

    def __init__(self, cert_path: str, key_path: str, renew: Callable[[], None]) -> None:
        self._paths = (cert_path, key_path)
        self._renew = renew
        self._settled = self._seen = self._mark()
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="certificates", daemon=True)

    def start(self) -> None:
        """Begin to look."""
        self._thread.start()

    def stop(self) -> None:
        """Look no more."""
        self._stopped.set()
        self._thread.join()

    def look(self) -> None:
        """Look once."""
        mark = self._mark()
        steady, self._seen = mark == self._seen, mark
        if not steady or mark == self._settled:
            return
        self._settled = mark
        try:
            check_pair(*self._paths)
        except ConfigError as error:
            _log.error("%s; the certificate before stays in force", error)
        else:
            _log.info("certificate was renewed")
            self._renew()

    def _run(self) -> None:
        while not self._stopped.wait(LOOK_SECONDS):
            self.look()

    def _mark(self) -> str:
        digest = hashlib.sha256()
        for path in self._paths:
            try:
                digest.update(hashlib.sha256(Path(path).read_bytes()).digest())
            except OSError as error:
                digest.update(f"unreadable: {error.errno}".encode())
        return digest.hexdigest()


def _read(variable: str, path: str) -> bytes:
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise ConfigError([f"{variable}: `{path}` cannot be read: {error.strerror}"]) from None
