"""What a worker process knows of Cloud: the snapshot that the main process keeps (`sidecar.connection`).

It is read when it changes and swapped whole. One that cannot be read leaves the one before in force; at the start there
is none before, and then nobody can know which tokens are withdrawn: none passes.
"""

import asyncio
import logging
from typing import Any, Literal

import msgspec

from kalguard.config import Settings
from kalguard.connector.license import LicenseState, Snapshot
from kalguard.connector.sealed import Unreadable
from kalguard.connector.snapshot import SnapshotFile
from kalguard.decision.entitlements import Entitlements, TokenKey
from kalguard.decision.identity import SecretKeyring
from kalguard.decision.quota import PlanLimits, PlanQuota
from kalguard.decision.revocation import Digests, unknown_revocations

LOOK_SECONDS = 0.25
_log = logging.getLogger(__name__)
_IN_FORCE = (LicenseState.CONNECTED, LicenseState.DEGRADED)


class CloudReply(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True):
    """Where things stand with Cloud, in `/health`. `problem` says why Cloud's last word was no."""

    connected: bool
    state: Literal["connecting", "connected", "degraded", "rejected"]
    tier: str | None = None
    org_id: str | None = None
    problem: str = ""


class CloudView:
    """The snapshot in `store`, as one worker process sees it."""

    def __init__(self, store: SnapshotFile) -> None:
        self._store = store
        self._mark: tuple[int, int, int] | None = None
        self._snapshot = Snapshot()
        self._entitlements = Entitlements(revoked=unknown_revocations)
        try:
            self._mark = store.mark()
            self._take_up(store.read())
        except (OSError, Unreadable) as error:
            self._mark = None
            _log.critical("EVERY TOKEN IS REFUSED until the licence's snapshot can be read: %s", error)

    def entitlements(self) -> Entitlements:
        """What is in force now."""
        return self._entitlements

    def limits(self) -> PlanLimits:
        """The plan's limits that are in force now."""
        return self._entitlements.limits

    async def refresh(self) -> None:
        """Take up a snapshot that is new. Raises `OSError` and `Unreadable`; then the one before stays."""
        mark = self._store.mark()
        if mark != self._mark:
            snapshot, entitlements = await asyncio.to_thread(self._read)
            self._snapshot, self._entitlements, self._mark = snapshot, entitlements, mark

    def reply(self) -> CloudReply:
        """What `/health` says."""
        snapshot = self._snapshot
        plan = snapshot.license
        return CloudReply(
            connected=snapshot.state is LicenseState.CONNECTED,
            state=snapshot.state.value,
            tier=None if plan is None else plan.tier,
            org_id=None if plan is None else plan.org_id,
            problem=snapshot.problem,
        )

    @property
    def plan(self) -> str | None:
        """The name of the plan, while a licence is in force."""
        plan = self._snapshot.license
        return plan.tier if plan is not None and self._snapshot.state in _IN_FORCE else None

    def _read(self) -> tuple[Snapshot, Entitlements]:
        snapshot = self._store.read()
        return snapshot, _entitlements_of(snapshot)

    def _take_up(self, snapshot: Snapshot) -> None:
        self._snapshot, self._entitlements = snapshot, _entitlements_of(snapshot)


def snapshot_file(settings: Settings, path: Any) -> SnapshotFile:
    """The file in which main process and workers share what is known of Cloud."""
    assert settings.api_key is not None  # noqa: S101 - only asked for with one
    return SnapshotFile(path, url=settings.cloud_url, api_key=settings.api_key)


def plan_headers(view: CloudView, quota: PlanQuota) -> list[tuple[bytes, bytes]]:
    """What the head of every reply says of the plan, while a licence is in force."""
    plan = view.plan
    if plan is None:
        return []
    remaining = quota.remaining()
    return [
        (b"x-kalguard-plan", plan.encode()),
        (b"x-kalguard-usage-remaining", b"-1" if remaining is None else str(remaining).encode()),
        (b"x-ratelimit-reset", str(quota.reset_at()).encode()),
    ]


def _entitlements_of(snapshot: Snapshot) -> Entitlements:
    plan = snapshot.license
    limits = PlanLimits() if plan is None else PlanLimits(plan.checks_per_day, plan.max_agents)
    keys = tuple(TokenKey(SecretKeyring(key.secret), key.until) for key in snapshot.keys)
    return Entitlements(limits=limits, keys=keys, revoked=Digests(snapshot.revoked))
