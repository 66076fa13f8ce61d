"""Starts the server: `kalguard-sidecar`.

The main process reads the configuration, refuses to start with a bad one, serves the metrics and looks after the
worker processes; the workers (`sidecar.worker`) answer the requests. On SIGTERM the service first says on
`/health/ready` that it is draining, so that whoever spreads the load can look elsewhere, and then stops: requests in
flight are finished. Ctrl-C stops at once.
"""

import logging
import multiprocessing
import os
import secrets
import socket
import sys
import tempfile
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from kalguard import config
from kalguard.config import Settings
from kalguard.counters.workers import make_table
from kalguard.errors import ConfigError
from kalguard.sidecar import traces
from kalguard.sidecar.audit import signing_key
from kalguard.sidecar.confinement import confine_main
from kalguard.sidecar.drain import Drain, drain_on_sigterm
from kalguard.sidecar.firewall import plain_firewall
from kalguard.sidecar.instance import COUNTERS, DRAIN_MARKER, INSTANCE, LEDGER, LICENSE, MAIN_PID, SERVING, TOOLS_FILE
from kalguard.sidecar.keys import keyring_for
from kalguard.sidecar.leftovers import PREFIX, claim, clear_leftovers
from kalguard.sidecar.logs import configure, log_config
from kalguard.sidecar.respawns import Respawns
from kalguard.sidecar.tls import CertificateWatch, check_pair
from kalguard.version import VERSION

if TYPE_CHECKING:
    from prometheus_client.registry import Collector

    from kalguard.sidecar.connection import Connection

_log = logging.getLogger("kalguard.sidecar")
# Of the time from SIGTERM to the end, this share is spent waiting for the load to go elsewhere.
_DRAIN_SHARE = 0.2
_HAND_OVER_SECONDS = 1.0  # for usage events that wait, where nobody gave us time
_HEAD_BYTES = 128 * 1024  # a head that is much longer is refused
_METRICS_FOLDER = "PROMETHEUS_MULTIPROC_DIR"


def main() -> None:
    """Serve until told to stop. Exits with 1 if a port is taken or the server fails, 2 for a bad configuration."""
    try:
        loaded = config.load(os.environ)
    except ConfigError as error:
        _refuse(error)
    configure(loaded.settings.log_level, loaded.settings.log_format)
    with tempfile.TemporaryDirectory(prefix=PREFIX) as folder:
        _claim(Path(folder))
        try:
            in_force = confine_main(loaded.settings, os.environ, Path(folder)) if loaded.settings.harden else None
            check(loaded.settings)
            address = _address_of(loaded.settings.host)
        except ConfigError as error:
            _refuse(error)
        _start(loaded, address, Path(folder), in_force)


def _claim(folder: Path) -> None:
    """Make the folder ours, and take away those that others had to leave beside it."""
    try:
        claim(folder)
    except OSError as error:
        print(f"kalguard-sidecar: no room for a lock in `{folder}`: {error.strerror}", file=sys.stderr)
        sys.exit(1)
    clear_leftovers(folder)


def _refuse(error: ConfigError) -> NoReturn:
    for problem in error.problems:
        print(f"kalguard-sidecar: {problem}", file=sys.stderr)
    sys.exit(2)


def _start(loaded: config.Loaded, address: str, folder: Path, in_force: Mapping[str, str] | None) -> None:
    settings = loaded.settings
    for port in (settings.port, settings.metrics_port):
        if reason := _taken(address, port):
            print(f"kalguard-sidecar: cannot listen on {settings.host}:{port}: {reason}", file=sys.stderr)
            sys.exit(1)
    _announce(loaded)
    # Worker processes start afresh: a copy of this one would hold the metrics thread's locks as they happen to be.
    multiprocessing.set_start_method("spawn")
    # Read by the worker processes: the first by prometheus-client when it is imported, the others by us.
    os.environ[_METRICS_FOLDER] = str(folder)
    os.environ[MAIN_PID] = str(os.getpid())
    os.environ[DRAIN_MARKER] = str(folder / "draining")
    os.environ[INSTANCE] = secrets.token_hex(8)
    os.environ[COUNTERS] = str(folder / "counters")
    os.environ[TOOLS_FILE] = str(folder / "tools.jsonl")
    os.environ[SERVING] = str(folder / "serving")
    try:
        (folder / "serving").mkdir(mode=0o700)
        (folder / "tools.jsonl").touch(mode=0o600)
        make_table(folder / "counters")
        connection = _connection(settings, folder)
    except OSError as error:
        print(f"kalguard-sidecar: no room for counting in `{folder}`: {error.strerror}", file=sys.stderr)
        sys.exit(1)
    except ConfigError as error:
        _refuse(error)
    _announce_keys(settings, connection)
    _serve(settings, address, folder, _certificates(settings, folder), connection, in_force=in_force)


def _connection(settings: Settings, folder: Path) -> "Connection | None":
    """The connection to Cloud that the settings ask for, of which the workers are told. Raises as `Connection` does."""
    if settings.api_key is None:
        return None
    from kalguard.sidecar.connection import Connection

    connection = Connection(settings, folder, folder / "serving")
    os.environ[LEDGER] = str(connection.ledger_path)
    os.environ[LICENSE] = str(connection.snapshot_path)
    os.environ[INSTANCE] = connection.instance  # what it has leased is its own after a restart too
    return connection


def _certificates(settings: Settings, folder: Path) -> CertificateWatch | None:
    """The certificate and key that were checked, in our own folder, if there are any."""
    if settings.tls_cert_path is None or settings.tls_key_path is None:
        return None
    try:
        return CertificateWatch(settings.tls_cert_path, settings.tls_key_path, folder)
    except ConfigError as error:  # they were changed since they were checked
        _refuse(error)
    except OSError as error:
        print(f"kalguard-sidecar: no room for the certificate in `{folder}`: {error.strerror}", file=sys.stderr)
        sys.exit(1)


def _serve(
    settings: Settings,
    address: str,
    folder: Path,
    certificates: CertificateWatch | None,
    connection: "Connection | None",
    *,
    in_force: Mapping[str, str] | None,
) -> None:
    from granian.constants import HTTPModes, Interfaces, Loops
    from granian.http import HTTP1Settings
    from granian.log import LogLevels

    from kalguard.sidecar.scrape import HardeningMetrics, serve_metrics
    from kalguard.sidecar.takeover import TakeoverServer

    grace = settings.drain_seconds * _DRAIN_SHARE
    finish = max(1.0, settings.drain_seconds - grace)
    server = TakeoverServer(
        "kalguard.sidecar.worker:create",
        serving=folder / "serving",
        factory=True,
        address=address,
        port=settings.port,
        interface=Interfaces.ASGI,
        workers=settings.workers,
        respawn_failed_workers=True,  # else one that dies takes the others with it
        loop=Loops.uvloop,
        http=HTTPModes.http1,  # one request at a time on a connection; nothing in the API needs more
        http1_settings=HTTP1Settings(
            header_read_timeout=settings.idle_seconds * 1000,  # the server's name for both
            max_buffer_size=_HEAD_BYTES,
        ),
        websockets=False,
        # Counts connections, not requests, and a connection beyond it hangs instead of being refused: it is set far
        # above the number of agents that keep one open.
        backpressure=8192,
        backlog=2048,  # connections that may wait to be accepted while a burst arrives
        workers_kill_timeout=round(finish),
        log_dictconfig=log_config(settings.log_level, settings.log_format),
        log_level=LogLevels(settings.log_level),
        ssl_cert=certificates.paths[0] if certificates else None,
        ssl_key=certificates.paths[1] if certificates else None,
    )
    server.respawned_wrks = Respawns()
    told: list[Collector] = [] if in_force is None else [HardeningMetrics(in_force)]
    if connection is not None:
        from kalguard.sidecar.cloud_metrics import CloudMetrics

        told.append(CloudMetrics(connection))
        connection.start()
    stop_metrics = serve_metrics(address, settings.metrics_port, *told)
    drain = Drain()
    # Once the server has set its own signal handlers.
    server.on_startup(partial(drain_on_sigterm, server, folder / "draining", drain, grace=grace, finish=finish))
    if certificates is not None:
        # New workers read the files; the old ones finish what they have begun.
        certificates.start(server.signal_handler_reload)
    try:
        server.serve()
    finally:
        if certificates is not None:
            certificates.stop()
        if connection is not None:
            connection.stop(drain.seconds_left(otherwise=_HAND_OVER_SECONDS))
        stop_metrics()


def check(settings: Settings) -> None:
    """Look at what the settings name, without which there can be no start. Raises `ConfigError`."""
    keyring_for(settings)
    signing_key(settings)
    plain_firewall(settings)
    if settings.redis_url is not None:
        # Imported only where it is needed, as most is here: this process has no requests to answer, and is waited for.
        from kalguard.sidecar.store import shared_store

        shared_store(settings.redis_url)
    if settings.api_key is not None:
        from kalguard.connector.environment import check_trust, proxy_for

        proxy_for(settings.cloud_url, os.environ)
        check_trust(settings.cloud_url, os.environ)
    traces.check(os.environ)
    if settings.tls_cert_path is not None and settings.tls_key_path is not None:
        check_pair(settings.tls_cert_path, settings.tls_key_path)


def _address_of(host: str) -> str:
    """The address to listen on; the server itself takes no names. Raises `ConfigError`."""
    try:
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except OSError as error:
        raise ConfigError([f"KALGUARD_HOST: `{host}` cannot be resolved: {error.strerror}"]) from None
    return str(found[0][4][0])


def _taken(address: str, port: int) -> str | None:
    """Why a port cannot be listened on. The server itself would share it with whoever has it already."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    try:
        with socket.socket(family, socket.SOCK_STREAM) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((address, port))
    except OSError as error:
        return error.strerror or str(error)
    return None


def _announce_keys(settings: Settings, connection: "Connection | None") -> None:
    if settings.insecure_unsigned_tokens or settings.token_secret is not None or settings.token_jwks_path is not None:
        return
    if connection is None:
        _log.critical("EVERY TOKEN IS REFUSED: set KALGUARD_TOKEN_SECRET or KALGUARD_TOKEN_JWKS_PATH to let agents in")
    elif not connection.has_keys:
        _log.critical("EVERY TOKEN IS REFUSED until KalGuard Cloud has given a signing key")


def _announce(loaded: config.Loaded) -> None:
    settings = loaded.settings
    for warning in loaded.warnings:
        _log.warning(warning)
    # Critical, so that no log level hides an open door.
    if settings.insecure_unsigned_tokens:
        _log.critical("INSECURE: unsigned tokens are accepted (KALGUARD_INSECURE_UNSIGNED_TOKENS=true)")
    if settings.policy_path is None and not settings.policy_default_deny:
        _log.critical("EVERYTHING IS ALLOWED: there is no policy file and KALGUARD_POLICY_DEFAULT_DENY=false")
    if settings.firewall_mode == "monitor":
        _log.critical("THE PROMPT FIREWALL BLOCKS NOTHING: it only watches (KALGUARD_FIREWALL_MODE=monitor)")
    _log.info("KalGuard %s on %s:%d", VERSION, settings.host, settings.port)
