"""What the processes of the service may do, made from the settings, where `KALGUARD_HARDEN` asks for it.

The main process is confined before it listens, calls anybody or reads a file that the settings name (but secrets), and
the worker processes inherit that. Each worker then
gives up what only the main process needs: starting programs, and, where it has nobody to call, calling. What is
configured goes on working: each file that the settings name can be read with its folder, where an editor or
Kubernetes puts another in its place. No other module here imports `hardening`.
"""

import logging
import os
import ssl
import sys
import sysconfig
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

from kalguard.config import VARIABLES, Settings
from kalguard.errors import ConfigError
from kalguard.hardening.process import Extent, Right, Rules, confine
from kalguard.sidecar.traces import are_wanted

_log = logging.getLogger("kalguard.sidecar")
_READ: tuple[Right, ...] = ("read",)
_READ_AND_WRITE: tuple[Right, ...] = ("read", "write")
# What the C library and OpenSSL look into: names, time zones, authorities.
_SYSTEM = (
    *("/lib", "/lib64", "/usr/lib", "/usr/lib64", "/usr/share/zoneinfo", "/usr/share/ca-certificates"),
    *("/etc/ld.so.cache", "/etc/localtime", "/etc/ca-certificates", "/etc/ssl/certs", "/etc/ssl/openssl.cnf"),
    *("/etc/pki/tls/certs", "/etc/pki/tls/openssl.cnf", "/etc/pki/ca-trust"),  # not the private keys beside them
    *("/etc/resolv.conf", "/etc/hosts", "/etc/host.conf", "/etc/nsswitch.conf", "/etc/gai.conf", "/etc/services"),
    "/dev/urandom",
    # How many processors there are and how much memory, how many connections may wait.
    *("/proc/stat", "/proc/meminfo", "/proc/cpuinfo", "/proc/sys/vm", "/proc/sys/net", "/sys/devices/system/cpu"),
    *("/sys/fs/cgroup", "/sys/kernel/mm/transparent_hugepage"),
)
# What a process holds can be read in /proc, its environment for one. So folders are listed there and no more: which
# descriptors there are to close before a worker is started.
_LISTED = ("/proc",)
_OTLP_FILES = ("CERTIFICATE", "CLIENT_CERTIFICATE", "CLIENT_KEY")
_OTLP_ENDPOINTS = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
_PROXIES = ("http_proxy", "https_proxy", "all_proxy")
_DNS = 53  # answers that are too long for a datagram come by TCP
_PORTS = {"http": 80, "https": 443, "redis": 6379, "rediss": 6379}


def confine_main(settings: Settings, environ: Mapping[str, str], folder: Path) -> dict[str, Extent]:
    """Confine this process and all that it will start; `folder` is the one for what need not last.

    Says in the log what is in force and what is not. Raises `ConfigError` if the kernel refuses what it has.
    """
    _make_state_folder(settings)
    try:
        in_force = confine(main_rules(settings, environ, folder))
    except (OSError, RuntimeError) as error:
        raise ConfigError([f"KALGUARD_HARDEN: cannot be done: {error}"]) from None
    held = [name for name, extent in in_force.items() if extent == "full"]
    _log.info("hardened: %s", ", ".join(held))
    if missing := [f"{name} ({extent})" for name, extent in in_force.items() if extent != "full"]:
        _log.warning("KALGUARD_HARDEN: this kernel lacks: %s", ", ".join(missing))
    return in_force


def main_rules(settings: Settings, environ: Mapping[str, str], folder: Path) -> Rules:
    """What the main process may do."""
    return Rules(
        role="main",
        files=[*_readable(settings, environ), *_writable(settings, folder), *_program(), *_around(folder)],
        bind=[settings.port, settings.metrics_port],
        connect=sorted(_callees(settings, environ)),
        unix=_is_local(settings),
    )


def worker_rules(settings: Settings, environ: Mapping[str, str], folder: Path) -> Rules:
    """What a worker process may do, of what the main process may: it reads the same, and writes the same."""
    calls = are_wanted(environ) or (settings.redis_url is not None and not _is_local(settings))
    return Rules(
        role="worker",
        files=[("/", _READ), *_writable(settings, folder)],
        bind=[settings.port],
        connect=sorted(_callees(settings, environ)) if calls else (),
        network=calls,
        unix=_is_local(settings),
    )


def confine_worker(settings: Settings, environ: Mapping[str, str], folder: Path) -> None:
    """Confine a worker process further. Raises as `hardening.process.confine` does."""
    confine(worker_rules(settings, environ, folder))


def _readable(settings: Settings, environ: Mapping[str, str]) -> Iterator[tuple[str, tuple[Right, ...]]]:
    readable = {*_SYSTEM, *_libraries(), *_trust(environ)}
    for path in _named(settings, environ):
        readable.update(_places(path))
    yield from ((path, _READ) for path in sorted(readable))


def _writable(settings: Settings, folder: Path) -> Iterator[tuple[str, tuple[Right, ...]]]:
    writable = [str(folder), "/dev/null"]
    if settings.audit_log_path not in (None, "-"):
        writable += _places(str(settings.audit_log_path))
    if settings.state_dir is not None and settings.api_key is not None:
        writable.append(str(Path(settings.state_dir).absolute()))
    yield from ((path, _READ_AND_WRITE) for path in writable)


def _named(settings: Settings, environ: Mapping[str, str]) -> Iterator[str]:
    """Every file that the settings and the environment name to be read."""
    fields = (variable.field for variable in VARIABLES if variable.name.endswith("_PATH"))
    yield from (path for name in fields if name != "audit_log_path" and (path := getattr(settings, name)))
    secrets = (f"{variable.name}_FILE" for variable in VARIABLES if variable.secret)
    traced = (f"OTEL_EXPORTER_OTLP_{kind}{name}" for kind in ("", "TRACES_") for name in _OTLP_FILES)
    yield from (path for name in (*secrets, *traced) if (path := environ.get(name)))
    asked = parse_qs(urlsplit(settings.redis_url or "").query)
    yield from (path for name, given in asked.items() if name.startswith("ssl_") for path in given if "/" in path)


def _places(path: str) -> Iterator[str]:
    """Where a file is and where its name leads to: the folders, in which it may be replaced; of a device itself.

    A folder that is not there yet stands for the one above it, if that is there. The root of all stands for none: that
    would be everything. What is out of reach by that is said in the log.
    """
    for place in {Path(path).absolute(), Path(os.path.realpath(path))}:
        if place.exists() and not place.is_file() and not place.is_dir():
            yield str(place)
            continue
        there = next((folder for folder in place.parents[:2] if folder.is_dir()), None)
        if there is None or there == Path(there.anchor):
            _log.warning("KALGUARD_HARDEN: `%s` is out of reach: its folder is `/`, or is not there", path)
        else:
            yield str(there)


def _make_state_folder(settings: Settings) -> None:
    """There has to be one for a rule to name it; whether it can be used is seen later."""
    if settings.state_dir is None or settings.api_key is None:
        return
    try:
        Path(settings.state_dir).mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError:
        _log.debug("`%s` cannot be made", settings.state_dir)


def _libraries() -> set[str]:
    """Python, our packages, and where everything that is loaded now came from."""
    found = {
        *sysconfig.get_paths().values(),
        sys.prefix,
        sys.base_prefix,
        *map(os.path.abspath, filter(None, sys.path)),
    }
    found |= {os.path.dirname(path) for path in _loaded()}
    return {path for path in found if path != "/"}


def _program() -> Iterator[tuple[str, tuple[Right, ...]]]:
    """What may be started: this Python, by the program that loads programs."""
    yield os.path.realpath(sys.executable), ("read", "execute")
    loaders = {path for path in _loaded() if os.path.basename(path).startswith("ld-")}
    yield from ((path, ("read", "execute")) for path in sorted(loaders))


def _around(folder: Path) -> Iterator[tuple[str, tuple[Right, ...]]]:
    """What the main process needs beside: to list descriptors, and to remove its folder at the end."""
    yield from ((path, ("list",)) for path in _LISTED)
    yield str(folder.parent), ("remove_dirs",)


def _loaded() -> set[str]:
    """The files that are mapped into this process."""
    try:
        lines = Path("/proc/self/maps").read_text().splitlines()
    except OSError:
        return set()
    return {parts[5] for line in lines if len(parts := line.split(maxsplit=5)) == 6 and parts[5].startswith("/")}


def _trust(environ: Mapping[str, str]) -> set[str]:
    """The authorities that are trusted, where OpenSSL and those that call Cloud look for them."""
    usual = ssl.get_default_verify_paths()
    named = (environ.get(name) for name in ("SSL_CERT_FILE", "SSL_CERT_DIR"))
    given = (usual.openssl_cafile, usual.openssl_capath, *named)
    return {os.path.realpath(path) for path in given if path}


def _is_local(settings: Settings) -> bool:
    """Whether Redis is at a Unix socket."""
    return urlsplit(settings.redis_url or "").scheme == "unix"


def _callees(settings: Settings, environ: Mapping[str, str]) -> set[int]:
    """The TCP ports that are called. None, where there is nobody to call."""
    proxies = [environ.get(name) or environ.get(name.upper()) for name in _PROXIES]
    urls: list[str | None] = [settings.redis_url]
    if settings.api_key is not None:
        urls += [settings.cloud_url, *proxies]
    if are_wanted(environ):
        urls += [*(environ.get(name) for name in _OTLP_ENDPOINTS), *proxies]
    ports = set(_ports(url for url in urls if url))
    return {*ports, _DNS} if ports else set()


def _ports(urls: Iterable[str]) -> Iterator[int]:
    """The ports that URLs name; none where one is not a URL, which whoever is to call there says."""
    for url in urls:
        try:
            parts = urlsplit(url if "://" in url else f"http://{url}")
            port = parts.port or _PORTS.get(parts.scheme)
        except ValueError:
            continue
        if port is not None:
            yield port
