"""What Prometheus is told of Cloud: read from the connection and the ledger when somebody asks."""

from collections.abc import Iterator

from prometheus_client import Metric
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.registry import Collector

from kalguard.connector.license import DIGEST_BYTES, LicenseState
from kalguard.errors import Unavailable
from kalguard.sidecar.connection import Connection


class CloudMetrics(Collector):
    """Tells of one connection."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def describe(self) -> list[Metric]:
        """Nothing beforehand: the ledger need not be asked for that."""
        return []

    def collect(self) -> Iterator[Metric]:
        """All figures, those of usage events as of one moment."""
        try:
            entries = self._connection.usage.entries()
        except Unavailable:  # whoever holds the lock, stopped or slow, changes nothing now: else there were no metrics
            entries = self._connection.ledger.read()
        snapshot, connector = self._connection.snapshot, self._connection.connector
        state = GaugeMetricFamily("kalguard_license_state", "1 for the state that is, 0 for others", labels=["state"])
        for one in LicenseState:
            state.add_metric([one], float(one is snapshot.state))
        yield state
        yield GaugeMetricFamily(
            "kalguard_cloud_revoked_tokens",
            "Tokens that KalGuard Cloud has withdrawn",
            value=len(snapshot.revoked) // DIGEST_BYTES,
        )
        events = CounterMetricFamily(
            "kalguard_usage_events", "Usage events that were made, accepted by Cloud or dropped", labels=["result"]
        )
        for result, count in (("made", entries.made), ("accepted", entries.accepted), ("dropped", entries.dropped)):
            events.add_metric([result], count)
        yield events
        waiting = GaugeMetricFamily(
            "kalguard_usage_events_waiting", "Usage events that Cloud has yet to get", labels=["place"]
        )
        for place, is_here in (("buffer", not self._connection.lasts), ("spool", self._connection.lasts)):
            waiting.add_metric([place], entries.waiting if is_here else 0)
        yield waiting
        yield GaugeMetricFamily("kalguard_quota_used", "Checks counted for the day", value=entries.used)
        if connector is None:
            return
        for name, help_text, counts in (
            ("kalguard_cloud_syncs", "Calls for the licence", connector.told.syncs),
            ("kalguard_usage_reports", "Calls that hand over usage events", connector.told.reports),
        ):
            calls = CounterMetricFamily(name, help_text, labels=["result"])
            for result, count in counts.items():
                calls.add_metric([result], count)
            yield calls
        yield GaugeMetricFamily(
            "kalguard_cloud_last_success_timestamp_seconds",
            "When the licence was last confirmed, 0 if never",
            value=connector.told.last_success,
        )
