"""A build under its limits while it does long work of our own."""

import threading
import time
from collections.abc import Callable

import pytest

from jobs.adapters.buildkit.running import aside, run_until_stopped
from jobs.errors import BuildError, CancelledError
from jobs.rules.stopping import StopSignal


class LongWork:
    """Goes on until it is told that nobody waits, or for far too long."""

    def __init__(self) -> None:
        self.has_begun = threading.Event()
        self.has_ended = False

    def __call__(self, given_up: Callable[[], bool]) -> None:
        deadline = time.monotonic() + 60
        self.has_begun.set()
        while not given_up() and time.monotonic() < deadline:
            time.sleep(0.01)
        self.has_ended = True


def test_stopped_build_ends_with_its_long_work() -> None:
    work, stop = LongWork(), StopSignal()

    def cancel() -> None:
        assert work.has_begun.wait(60)
        stop.set(CancelledError("ada said so"))

    canceller = threading.Thread(target=cancel)
    canceller.start()
    started = time.monotonic()
    with pytest.raises(CancelledError, match="ada said so"):
        run_until_stopped(aside(work), deadline_s=60, stop=stop)
    canceller.join(60)

    assert time.monotonic() - started < 30
    assert work.has_ended  # what it reads from may be closed now


def test_deadline_ends_long_work() -> None:
    work = LongWork()
    started = time.monotonic()

    with pytest.raises(BuildError, match=r"longer than 0\.2 s"):
        run_until_stopped(aside(work), deadline_s=0.2, stop=StopSignal())

    assert time.monotonic() - started < 30
    assert work.has_ended


def test_long_work_gives_what_it_found_or_raises() -> None:
    def fail(_given_up: Callable[[], bool]) -> None:
        raise BuildError("no such pattern")

    assert run_until_stopped(aside(lambda _: 7), deadline_s=60, stop=StopSignal()) == 7
    with pytest.raises(BuildError, match="no such pattern"):
        run_until_stopped(aside(fail), deadline_s=60, stop=StopSignal())
