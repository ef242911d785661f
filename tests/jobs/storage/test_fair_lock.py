"""Turns: one at a time, in the order in which they came, and nobody waits for ever."""

import threading
import time
from collections.abc import Callable
from functools import partial

from jobs.storage.fair_lock import Turns
from tests.jobs.bench import wait_for

PATIENCE_S = 60.0


def waiting(turns: Turns, then: Callable[[], None]) -> threading.Thread:
    """Have a thread wait for its turn, and give it once it does."""
    before = len(turns._waiting)

    def take() -> None:
        assert turns.acquire(PATIENCE_S)
        then()
        turns.release()

    thread = threading.Thread(target=take)
    thread.start()
    wait_for(lambda: len(turns._waiting) > before)
    return thread


def test_the_lock_is_first_come_first_served() -> None:
    turns, order = Turns(), list[int]()
    assert turns.acquire(0)
    threads = [waiting(turns, partial(order.append, number)) for number in range(20)]
    turns.release()
    for thread in threads:
        thread.join(PATIENCE_S)
    assert order == list(range(20))


def test_only_one_thread_holds_the_lock() -> None:
    turns, inside, most = Turns(), 0, 0

    def work() -> None:
        nonlocal inside, most
        for _ in range(50):
            assert turns.acquire(PATIENCE_S)
            inside += 1
            most = max(most, inside)
            time.sleep(0)
            inside -= 1
            turns.release()

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE_S)
    assert (inside, most) == (0, 1)


def test_a_thread_that_times_out_leaves_the_queue() -> None:
    turns = Turns()
    assert turns.acquire(0)
    begun = time.monotonic()
    assert not turns.acquire(0.05)
    assert not turns.acquire(-1)
    assert time.monotonic() - begun < 30
    turns.release()
    assert turns.acquire(0)


def test_timed_out_threads_do_not_break_the_queue() -> None:
    """One that gives up just as it is called keeps the turn: it is nobody else's any more."""
    turns, taken = Turns(), 0

    def hurry() -> None:
        nonlocal taken
        for _ in range(200):
            if turns.acquire(0.0005):
                taken += 1
                time.sleep(0.0005)
                turns.release()

    threads = [threading.Thread(target=hurry) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert taken
    assert turns.acquire(PATIENCE_S)
