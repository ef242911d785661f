"""A build under its two limits: a deadline, and a signal to stop.

Closing the connection of its request is what cancels a build in the engine, and both limits come
down to that: the build is an asyncio task here, and its connections close when it is cancelled.
"""

import asyncio
import threading
from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import Any, TypeVar

from jobs.errors import BuildError, DockerError
from jobs.rules.stopping import StopSignal

Built = TypeVar("Built")
Done = TypeVar("Done")


def run_until_stopped(
    build: Coroutine[Any, Any, Built], *, deadline_s: float, stop: StopSignal
) -> Built:
    """Run a build in this thread, and give its result.

    Raises:
        BuildError: it took longer than the deadline.
        KeystoneError: what the build raised, or what it was stopped with.
    """
    return asyncio.run(_run(build, deadline_s, stop))


async def _run(build: Coroutine[Any, Any, Built], deadline_s: float, stop: StopSignal) -> Built:
    loop = asyncio.get_running_loop()
    building = loop.create_task(build)

    def cancel() -> None:
        # Called from another thread, and perhaps just after the loop has ended.
        with suppress(RuntimeError):
            loop.call_soon_threadsafe(building.cancel)

    with stop.cuts(cancel):
        try:
            return await asyncio.wait_for(building, deadline_s)
        except TimeoutError as exc:
            raise BuildError(f"the build took longer than {_span(deadline_s)}") from exc
        except asyncio.CancelledError as exc:
            raise DockerError("the build was cut off") from exc


async def aside(work: Callable[[Callable[[], bool]], Done]) -> Done:
    """Do long work in a thread of its own, so that a build can be stopped in the middle of it.

    The end of the build waits for the thread.

    Args:
        work: is handed a function that tells whether to give up, as nobody waits any more.
    """
    given_up = threading.Event()
    try:
        return await asyncio.to_thread(work, given_up.is_set)
    finally:
        given_up.set()


def _span(seconds: float) -> str:
    return f"{seconds / 60:g} min" if seconds >= 60 else f"{seconds:g} s"  # noqa: PLR2004
