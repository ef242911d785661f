"""Runs a build with a deadline and a stop signal.

The engine cancels a build when the connection of its request is closed. The build is an asyncio
task, and both the deadline and the stop signal cancel that task, which closes its connections.
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
        BuildError: the build took longer than the deadline.
        KeystoneError: the error that the build raised, or that `stop` was set with.
    """
    return asyncio.run(_run(build, deadline_s, stop))


async def _run(build: Coroutine[Any, Any, Built], deadline_s: float, stop: StopSignal) -> Built:
    loop = asyncio.get_running_loop()
    building = loop.create_task(build)

    def cancel() -> None:
        # Called from another thread, possibly after the event loop has ended.
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
    """Run long work in a separate thread, so that a build can be stopped meanwhile.

    The build ends only after the thread.

    Args:
        work: gets a function that tells whether to give up because the build was stopped.
    """
    given_up = threading.Event()
    try:
        return await asyncio.to_thread(work, given_up.is_set)
    finally:
        given_up.set()


def _span(seconds: float) -> str:
    return f"{seconds / 60:g} min" if seconds >= 60 else f"{seconds:g} s"  # noqa: PLR2004
