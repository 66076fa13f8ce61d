"""Where the steps of a check are taken that take computing."""

from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any, TypeVar

from kalguard.decision.unforeseen import UNFORESEEN

Run = Callable[[Callable[[], Any]], Awaitable[Any]]  # calls a function elsewhere
_T = TypeVar("_T")


async def run_in(run: Run, step: Callable[[], _T]) -> _T:
    """Call a step of a check where it is to be called. Raises what it raises."""
    outcome = await run(partial(_outcome_of, step))
    if isinstance(outcome, UNFORESEEN):
        raise outcome
    return outcome  # type: ignore[no-any-return]


def _outcome_of(step: Callable[[], _T]) -> _T | BaseException:
    """What a step gives or raises, as a value: not every exception finds its way back from another thread."""
    try:
        return step()
    except UNFORESEEN as error:
        return error
