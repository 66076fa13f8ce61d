"""What the core says of windows, as `decision.limits` has it."""

from collections.abc import Sequence

from kalguard.decision.limits import Room, Taken


def taken(answer: tuple[bool, Sequence[tuple[int, float]]]) -> Taken:
    """Whether a call was counted, and what each limit then leaves."""
    counted, rooms = answer
    return Taken(counted, tuple([Room(remaining, reset_seconds) for remaining, reset_seconds in rooms]))
