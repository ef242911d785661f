"""Looking again and again for all who wait: many who look share a pace."""

import asyncio
from contextlib import AsyncExitStack

import pytest

from receiver.polling import AT_FULL_PACE, Lookout

EVERY_S = 0.25


class Idle(Lookout):
    """Looks, and never has news."""

    def __init__(self) -> None:
        super().__init__(every_s=EVERY_S)

    def look(self) -> bool:
        """Find nothing."""
        return False


async def pauses(count: int) -> tuple[float, float]:
    """Give how long one pauses while so many look, and after they have stopped."""
    lookouts = [Idle() for _ in range(count)]
    async with AsyncExitStack() as watched:
        for lookout in lookouts:
            await watched.enter_async_context(lookout)
        await asyncio.sleep(0)
        among_others = lookouts[0]._pause_s()
    for _ in range(100):  # turns of the event loop: far more than a task needs to end
        await asyncio.sleep(0)
    return among_others, lookouts[0]._pause_s()


@pytest.mark.parametrize(("count", "factor"), [(1, 1), (AT_FULL_PACE, 1), (10 * AT_FULL_PACE, 10)])
def test_all_who_look_together_look_no_more_often_than_a_few(count: int, factor: int) -> None:
    assert asyncio.run(pauses(count)) == (factor * EVERY_S, EVERY_S)
