"""The day's account of one instance: never more than is allowed, over all processes, deaths and clocks."""

import asyncio
import os
import subprocess
import sys
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kalguard.decision.quota import UNLIMITED, Lease, PlanLimits, PlanQuota
from kalguard.errors import Unavailable
from kalguard.ledger import day as day_module
from kalguard.ledger.day import DayAccount
from kalguard.ledger.file import AGENT_BYTES, AGENT_PLACES, AGENTS_AT, BUFFER_BYTES, LedgerFile, make_ledger
from kalguard.ledger.file import temporary_ledger as new
from tests.ledger.buffers import lock_held
from tests.support import PATIENCE_SECONDS, ROOT

DAY = 20_000
TABLE = slice(AGENTS_AT, AGENTS_AT + AGENT_PLACES * AGENT_BYTES)


class Killed(BaseException):
    """The process is no more."""


def spends(account: DayAccount, share: int, times: int = 1, day: int = DAY) -> int:
    """How many of so many checks are allowed."""

    async def run() -> int:
        return sum([(await account.spend(day, share)).allowed for _ in range(times)])

    return asyncio.run(run())


def admits(account: DayAccount, agent_id: str, limit: int, day: int = DAY) -> bool:
    return asyncio.run(account.admit(day, agent_id, limit))


def extend(account: DayAccount, granted: int, total: int = 0, day: int = DAY) -> None:
    asyncio.run(account.extend(day, Lease(granted=granted, total=total)))


def killed_at_the_write(ledger: LedgerFile, monkeypatch: pytest.MonkeyPatch) -> None:
    def dies(_: object) -> None:
        raise Killed

    monkeypatch.setattr(ledger, "write", dies)


def test_no_more_than_the_share_is_allowed_and_what_is_refused_is_not_counted() -> None:
    account = DayAccount(new())
    assert spends(account, 0) == 0
    assert spends(account, 3, 5) == 3
    assert account.now(DAY).used == 3
    assert spends(account, 4, 5) == 1
    assert spends(account, UNLIMITED, 5) == 5


def test_what_is_leased_may_be_used_without_a_share() -> None:
    account = DayAccount(new())
    extend(account, 2, total=10)
    assert spends(account, 0, 5) == 2
    assert account.now(DAY).total == 10


def test_a_lease_comes_on_top_of_what_was_used_without_one() -> None:
    account = DayAccount(new())
    assert spends(account, 5, 5) == 5
    extend(account, 2)
    assert spends(account, 0, 5) == 2


def test_what_is_given_up_cannot_be_used_any_more_and_is_given_up_once() -> None:
    account = DayAccount(new())
    extend(account, 10)
    assert spends(account, 0, 4) == 4
    assert asyncio.run(account.surrender(DAY)) == 6
    assert asyncio.run(account.surrender(DAY)) == 0
    assert spends(account, 0) == 0
    assert asyncio.run(DayAccount(new()).surrender(DAY)) == 0


def test_another_day_begins_with_nothing() -> None:
    account = DayAccount(new())
    extend(account, 3)
    assert spends(account, 0, 1) == 1
    assert admits(account, "agent-1", 1)
    assert spends(account, 0, day=DAY + 1) == 0
    assert account.now(DAY + 1).leased == 0
    assert not admits(account, "agent-1", 0, DAY + 1)
    assert admits(account, "agent-2", 1, DAY + 1)


def test_a_clock_set_back_over_midnight_gives_neither_checks_nor_agents_again() -> None:
    account = DayAccount(new())
    assert spends(account, 3, 3) == 3
    assert admits(account, "agent-1", 1)
    assert spends(account, 3, day=DAY - 1) == 0
    assert not admits(account, "agent-2", 1, DAY - 1)
    assert account.now(DAY - 1).used == 3


def test_a_clock_that_was_wrong_by_more_is_believed_when_it_is_right() -> None:
    account = DayAccount(new())
    assert spends(account, 3, 3, day=DAY + 30) == 3
    assert spends(account, 3, 5) == 3


_STEPS: dict[str, Callable[[DayAccount], Coroutine[Any, Any, object]]] = {
    "spend": lambda account: account.spend(DAY, 5),
    "extend": lambda account: account.extend(DAY, Lease(1, 1)),
    "surrender": lambda account: account.surrender(DAY),
}


@pytest.mark.parametrize("step", _STEPS)
def test_a_death_before_the_entries_are_written_changes_nothing(step: str, monkeypatch: pytest.MonkeyPatch) -> None:
    ledger = new()
    account = DayAccount(ledger)
    extend(account, 3)
    before = ledger.read()
    killed_at_the_write(ledger, monkeypatch)
    with pytest.raises(Killed):
        asyncio.run(_STEPS[step](account))
    monkeypatch.undo()
    assert ledger.read() == before
    assert spends(account, 0, 5) == 3


def test_a_death_between_place_and_entry_costs_one_agent_that_is_not_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    ledger = new()
    account = DayAccount(ledger)
    assert admits(account, "agent-1", 2)
    killed_at_the_write(ledger, monkeypatch)
    with pytest.raises(Killed):
        admits(account, "agent-2", 2)
    monkeypatch.undo()
    assert [admits(account, f"agent-{number}", 2) for number in (2, 3, 4)] == [True, True, False]


def test_a_death_while_a_day_begins_leaves_nobody_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    ledger = new()
    account = DayAccount(ledger)
    assert admits(account, "agent-1", 1)
    killed_at_the_write(ledger, monkeypatch)
    with pytest.raises(Killed):
        admits(account, "agent-2", 1, DAY + 1)
    monkeypatch.undo()
    assert admits(account, "agent-3", 1, DAY + 1)
    assert not admits(account, "agent-2", 1, DAY + 1)


def test_no_more_agents_than_the_limit_and_who_was_let_in_stays_in() -> None:
    account = DayAccount(new())
    assert not admits(account, "agent-1", 0)
    assert [admits(account, f"agent-{number}", 3) for number in range(6)] == [True] * 3 + [False] * 3
    assert all(admits(account, f"agent-{number}", 0) for number in range(3))  # even where the limit has fallen
    assert not admits(account, "agent-3", 3)
    assert admits(account, "agent-3", 4)


def test_a_limit_of_agents_that_appears_later_counts_from_there_on() -> None:
    limits = PlanLimits(max_agents=None)
    quota = PlanQuota(DayAccount(new()), limits=lambda: limits, shared=None, clock=lambda: DAY * 86_400.0)

    def is_admitted(agent_id: str) -> bool:
        return asyncio.run(quota.take(agent_id)).admitted

    assert all(is_admitted(f"agent-{number}") for number in range(5))
    limits = PlanLimits(max_agents=2)
    assert [is_admitted(f"agent-{number}") for number in (4, 3, 2, 4, 9)] == [True, True, False, True, False]
    limits = PlanLimits(max_agents=0)
    assert [is_admitted(f"agent-{number}") for number in (4, 1)] == [True, False]


def test_an_agent_whose_places_are_all_taken_is_not_let_in() -> None:
    ledger = new()
    account = DayAccount(ledger)
    assert admits(account, "agent-1", 10)
    table = bytearray(ledger.file.map[TABLE])
    for at in range(0, len(table), AGENT_BYTES):
        if not any(table[at : at + AGENT_BYTES]):
            table[at : at + AGENT_BYTES] = b"x" * AGENT_BYTES
    ledger.file.map[TABLE] = bytes(table)
    with pytest.raises(Unavailable, match="too many agents in a day"):
        admits(account, "agent-2", 10)
    assert admits(account, "agent-1", 10)
    assert admits(account, "agent-2", 10, DAY + 1)


def test_the_table_has_room_for_a_hundred_thousand_agents(monkeypatch: pytest.MonkeyPatch) -> None:
    """That is three quarters of it; here in one of a hundredth of the size."""
    monkeypatch.setattr(day_module, "AGENT_PLACES", AGENT_PLACES // 64)
    monkeypatch.setattr(day_module, "_SETS", AGENT_PLACES // 64 // 8)
    account = DayAccount(new())

    async def run() -> None:
        count = 100_000 // 64
        for _ in range(2):
            for number in range(count):
                assert await account.admit(DAY, f"agent-{number}", count)
        assert not await account.admit(DAY, "one more", count)

    asyncio.run(run())


def test_nothing_is_counted_while_the_lock_is_held_and_the_caller_learns_it() -> None:
    ledger = new()
    account = DayAccount(ledger)
    with lock_held(ledger):
        with pytest.raises(Unavailable):
            spends(account, 5)
        with pytest.raises(Unavailable):
            admits(account, "agent-1", 5)
        assert account.now(DAY).used == 0  # to be told, it need not wait


def test_two_processes_let_in_no_more_agents_than_the_limit(tmp_path: Path) -> None:
    make_ledger(tmp_path / "ledger", BUFFER_BYTES)
    code = """
import asyncio, sys
from pathlib import Path
from kalguard import mapped
from kalguard.ledger.day import DayAccount
from kalguard.ledger.file import LedgerFile
mapped.LOCK_SECONDS = 60.0
account = DayAccount(LedgerFile(Path(sys.argv[1])))
async def run():
    names = [f"agent-{sys.argv[2]}-{number}" for number in range(200)]
    print(sum([await account.admit(20_000, name, 100) for name in names]))
asyncio.run(run())
"""
    command = [sys.executable, "-c", code, str(tmp_path / "ledger")]
    processes = [subprocess.Popen([*command, name], stdout=subprocess.PIPE, cwd=ROOT) for name in ("a", "b")]
    assert sum(int(process.communicate(timeout=PATIENCE_SECONDS)[0]) for process in processes) == 100


class PlainAccount:
    """The same, as plainly as it can be said."""

    def __init__(self) -> None:
        self.day = self.used = self.leased = 0
        self.agents: set[tuple[int, str]] = set()

    def on(self, day: int) -> None:
        if day not in (self.day - 1, self.day):
            self.day, self.used, self.leased, self.agents = day, 0, 0, set()

    def spend(self, day: int, share: int) -> bool:
        self.on(day)
        allowed = self.used < max(share, self.leased)
        self.used += allowed
        return allowed

    def extend(self, day: int, granted: int) -> None:
        self.on(day)
        self.leased = max(self.leased, self.used) + granted

    def surrender(self, day: int) -> int:
        self.on(day)
        rest = max(0, self.leased - self.used)
        self.leased -= rest
        return rest

    def admit(self, day: int, agent_id: str, limit: int) -> bool:
        self.on(day)
        if (day, agent_id) not in self.agents and len(self.agents) < limit:
            self.agents.add((day, agent_id))
        return (day, agent_id) in self.agents


STEPS = st.one_of(
    st.tuples(st.just("spend"), st.integers(0, 4)),
    st.tuples(st.just("extend"), st.integers(0, 3)),
    st.tuples(st.just("surrender"), st.just(0)),
    st.tuples(st.sampled_from(["a", "b", "c", "d"]), st.integers(0, 3)),
)


@given(steps=st.lists(st.tuples(st.sampled_from([0, 0, 0, 1, -1, 5, -5]), STEPS), max_size=30))
def test_any_sequence_comes_to_what_the_plain_account_says(steps: list[tuple[int, tuple[str, int]]]) -> None:
    ledger = new()
    account, plain, day = DayAccount(ledger), PlainAccount(), DAY
    for later, (step, number) in steps:
        day += later
        if step == "spend":
            assert (spends(account, number, day=day) == 1) is plain.spend(day, number)
        elif step == "extend":
            extend(account, number, day=day)
            plain.extend(day, number)
        elif step == "surrender":
            assert asyncio.run(account.surrender(day)) == plain.surrender(day)
        else:
            assert admits(account, step, number, day) is plain.admit(day, step, number)
        assert account.now(plain.day).used == plain.used
    os.close(ledger.file.fd)  # there are many of them
