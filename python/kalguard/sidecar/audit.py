"""The audit log as the settings want it: where it goes, signed or not, and what is done for it in the background."""

import asyncio
import time
from functools import partial
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from kalguard.config import Settings
from kalguard.errors import ConfigError
from kalguard.records.audit import AuditLog, AuditSink
from kalguard.records.ocsf import ocsf_event
from kalguard.records.sinks import ChainOptions, MemorySink, WriterSink, WriterWatcher, file_sink, stdout_sink
from kalguard.sidecar.background import Repeated

FSYNC_SECONDS = 1.0
CHECKPOINT_SECONDS = 60.0


def sink_for(settings: Settings, watcher: WriterWatcher) -> AuditSink:
    """Where audit records go. Raises `ConfigError` naming the variable."""
    # Where records are OCSF events, what is only ours stands in the last member.
    options = ChainOptions(key=signing_key(settings), depth=2 if settings.audit_format == "ocsf" else 1)
    if settings.audit_log_path is None:
        return MemorySink(options)
    if settings.audit_log_path == "-":
        return stdout_sink(options, watcher=watcher)
    return file_sink(settings.audit_log_path, options, fsync=settings.audit_fsync, watcher=watcher)


def audit_log(settings: Settings, sink: AuditSink) -> AuditLog:
    """The log that is written to `sink`."""
    if settings.audit_format == "ocsf":
        return AuditLog(sink, clock=time.time, shape=ocsf_event)
    return AuditLog(sink, clock=time.time)


def signing_key(settings: Settings) -> bytes | None:
    """The seed of the key that the log is signed with, if there is one. Raises `ConfigError` naming the variable."""
    if settings.audit_key_path is None:
        return None
    variable = f"KALGUARD_AUDIT_KEY_PATH: `{settings.audit_key_path}`"
    try:
        key = load_pem_private_key(Path(settings.audit_key_path).read_bytes(), password=None)
    except OSError as error:
        raise ConfigError([f"{variable} cannot be read: {error.strerror}"]) from None
    except (ValueError, TypeError):
        key = None
    if not isinstance(key, Ed25519PrivateKey):
        hint = "`openssl genpkey -algorithm ed25519` makes one"
        raise ConfigError([f"{variable} is not an Ed25519 private key in PEM, PKCS#8; {hint}"])
    return key.private_bytes_raw()


def audit_work(settings: Settings, sink: AuditSink, audit: AuditLog) -> list[Repeated]:
    """What has to be done for the log now and then."""
    if not isinstance(sink, WriterSink):
        return []
    work = []
    if settings.audit_fsync == "interval" and settings.audit_log_path != "-":
        work.append(Repeated("fsync", partial(asyncio.sleep, FSYNC_SECONDS), partial(asyncio.to_thread, sink.sync)))
    if settings.audit_key_path is not None:
        pause = partial(asyncio.sleep, CHECKPOINT_SECONDS)
        work.append(Repeated("checkpoint", pause, partial(_checkpoint, sink, audit)))
    return work


async def _checkpoint(sink: WriterSink, audit: AuditLog) -> None:
    if sink.unsigned:
        await audit.record_checkpoint()
