"""What is remembered, and for how long."""

from kalguard.decision.remembered import Remembered


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


def test_what_was_asked_for_lately_is_kept_and_never_too_much() -> None:
    kept = Remembered[int](6, seconds=60, clock=Clock())
    kept.put("often", -1)
    for number in range(100):
        kept.put(str(number), number)
        assert kept.get("often") == -1
        assert len(kept) <= 6
        recent = [str(each) for each in range(max(0, number - 1), number + 1)]
        assert [kept.get(name) for name in recent] == [int(name) for name in recent]
    assert kept.get("0") is None


def test_what_nobody_asks_for_any_more_goes_with_time() -> None:
    clock = Clock()
    kept = Remembered[str](1000, seconds=60, clock=clock)
    kept.put("old", "old")
    kept.put("used", "used")
    for _ in range(3):
        clock.now += 60
        kept.put(f"new at {clock.now}", "new")
        assert kept.get("used") == "used"
    assert kept.get("old") is None
    clock.now -= 10_000  # set back: nothing is kept for longer than it should be
    for _ in range(3):
        kept.put("another", "new")
        clock.now += 60
    assert kept.get("used") is None


def test_everything_can_be_forgotten() -> None:
    kept = Remembered[int](2, seconds=60, clock=Clock())
    for number in range(3):
        kept.put(str(number), number)
    kept.clear()
    assert len(kept) == 0
    assert kept.get("2") is None
