"""The plain, obvious twin of every store: all calls that were allowed, as a list."""

from collections.abc import Sequence

from kalguard.decision.limits import Limit, Room, Taken


class PlainCounters:
    """Counts by looking through everything that ever happened. `now` is set by the test."""

    def __init__(self) -> None:
        self.now = 0.0
        self.calls: list[tuple[int, tuple[str, ...]]] = []  # the second, and the key

    def take(self, limits: Sequence[Limit]) -> Taken:
        counted = all(len(self.recent(limit)) < limit.allowed for limit in limits)
        if counted:
            self.calls += [(int(self.now), limit.key) for limit in limits]
        return Taken(counted, tuple(self.room(limit) for limit in limits))

    def recent(self, limit: Limit) -> list[int]:
        """The calls of this second and of the 60 before it."""
        return sorted(second for second, key in self.calls if key == limit.key and second >= int(self.now) - 60)

    def room(self, limit: Limit) -> Room:
        recent = self.recent(limit)
        remaining = max(0, limit.allowed - len(recent))
        for second in recent:
            later = [other for other in recent if other > second]
            if max(0, limit.allowed - len(later)) > remaining:
                return Room(remaining, second + 61 - self.now)
        return Room(remaining, 0.0)


def same(one: Taken, other: Taken) -> bool:
    """Whether two answers are the same, to the microsecond."""
    pairs = zip(one.rooms, other.rooms, strict=True)
    return one.counted == other.counted and all(
        a.remaining == b.remaining and abs(a.reset_seconds - b.reset_seconds) < 2e-6 for a, b in pairs
    )
