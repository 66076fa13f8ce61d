"""Counts in plain numbers, of which Prometheus is told later, together: for what happens with every check.

One increment of prometheus-client takes a lock, asks for the id of the process and writes into a file: one check has
some twenty of them. For one thread.
"""

from bisect import bisect_left
from collections import defaultdict

from prometheus_client import Counter, Histogram


class Tally(defaultdict[tuple[str, ...], int]):
    """What a counter has to be told: how often something happened since the last time, by the counter's labels."""

    def __init__(self, told: Counter) -> None:
        super().__init__(int)
        self._told = told

    def show(self, *labels: str) -> None:
        """Let the counter say 0 of something that did not happen yet."""
        self._told.labels(*labels)

    def tell(self) -> None:
        """Add it to the counter. Nothing is added twice, whatever fails."""
        while self:
            labels, count = self.popitem()
            self._told.labels(*labels).inc(count)


class Durations:
    """What a histogram has to be told: times in seconds that were measured since the last time.

    prometheus-client has no public way to observe several values at once. This is the one place that knows how it
    keeps a histogram: a sum, and for each upper bound how many are not above it but above the one before.
    """

    def __init__(self, told: Histogram) -> None:
        """`told` has no labels, or values for all of them."""
        self._told_sum = told._sum
        self._told_buckets = told._buckets
        self._bounds = told._upper_bounds
        self._counts = [0] * len(self._bounds)
        self._sum = 0.0

    def observe(self, seconds: float) -> None:
        """Count one."""
        self._counts[bisect_left(self._bounds, seconds)] += 1
        self._sum += seconds

    def tell(self) -> None:
        """Add them to the histogram. Nothing is added twice, whatever fails."""
        if not any(self._counts):
            return
        seconds, self._sum = self._sum, 0.0
        self._told_sum.inc(seconds)
        for index, count in enumerate(self._counts):
            if count:
                self._counts[index] = 0
                self._told_buckets[index].inc(count)
