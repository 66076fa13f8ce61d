"""What the environment says of the way to Cloud, read as curl and others read it: a proxy, authorities to trust."""

import ssl
from collections.abc import Mapping
from urllib.parse import urlsplit
from urllib.request import proxy_bypass

from kalguard.errors import ConfigError

_PROXIES = ("https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY")  # the first that is set counts


def proxy_for(url: str, environ: Mapping[str, str]) -> str | None:
    """The proxy by which `url` is to be called: for TLS only, which it sees nothing of. Raises `ConfigError`."""
    parts = urlsplit(url)
    if parts.scheme != "https" or proxy_bypass(parts.hostname or ""):
        return None
    for name in _PROXIES:
        if given := environ.get(name):
            return _proxy_in(given, name)
    return None


def check_trust(url: str, environ: Mapping[str, str]) -> None:
    """See whether the authorities that the environment names for `url` can be read. Raises `ConfigError`."""
    path = environ.get("SSL_CERT_FILE")
    if not path or urlsplit(url).scheme != "https":
        return
    try:
        ssl.create_default_context(cafile=path)
    except OSError as error:  # what `ssl` raises is one
        problem = f"cannot be used for KALGUARD_CLOUD_URL: {error.strerror or error}"
        raise ConfigError([f"SSL_CERT_FILE: `{path}` {problem}"]) from None


def _proxy_in(given: str, name: str) -> str:
    """The proxy that a variable names, which may hold a password: no message repeats it."""
    address = given if "://" in given else f"http://{given}"
    try:
        parts = urlsplit(address)
        is_address = bool(parts.hostname) and (parts.port is None or parts.port > 0)
    except ValueError:
        is_address = False
    if not is_address:
        raise ConfigError([f"{name}: is not the address of a proxy"])
    if parts.scheme not in ("http", "https"):
        raise ConfigError([f"{name}: a `{parts.scheme}` proxy cannot be used for KALGUARD_CLOUD_URL"])
    return address
