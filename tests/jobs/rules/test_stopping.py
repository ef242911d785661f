"""A stop reaches work that waits, computes or is blocked in a call."""

import socket
import threading
import time

import pytest

from jobs.errors import CancelledError, LeaseLostError
from jobs.rules.stopping import StopSignal

STOP = CancelledError("cancelled by user:ada")


def _receive(ours: socket.socket) -> None:
    if not ours.recv(1):
        raise ConnectionError("the other side went away")


def stop_soon(stop: StopSignal) -> threading.Timer:
    timer = threading.Timer(0.05, stop.set, [STOP])
    timer.start()
    return timer


def test_work_that_nobody_stops_goes_on() -> None:
    stop = StopSignal()
    stop.check()
    stop.wait(0.001)
    with stop.cuts(lambda: pytest.fail("cut without a stop")):
        pass


def test_the_first_error_is_the_one_that_counts() -> None:
    stop = StopSignal()
    stop.set(STOP)
    stop.set(LeaseLostError("too late"))
    with pytest.raises(CancelledError):
        stop.check()


def test_a_wait_ends_at_once() -> None:
    stop = StopSignal()
    timer = stop_soon(stop)
    begun = time.monotonic()
    with pytest.raises(CancelledError):
        stop.wait(30)
    assert time.monotonic() - begun < 25
    timer.join()


def test_a_blocked_call_is_cut_and_its_own_error_is_replaced() -> None:
    stop = StopSignal()
    ours, theirs = socket.socketpair()
    with ours, theirs:
        timer = stop_soon(stop)
        with (
            pytest.raises(CancelledError),
            stop.cuts(lambda: ours.shutdown(socket.SHUT_RDWR)),
        ):
            _receive(ours)
        timer.join()


def test_a_block_that_ends_without_a_word_is_stopped_all_the_same() -> None:
    stop = StopSignal()
    with pytest.raises(CancelledError), stop.cuts(lambda: None):
        stop.set(STOP)


def test_a_block_is_not_entered_after_the_stop() -> None:
    stop = StopSignal()
    stop.set(STOP)
    with pytest.raises(CancelledError), stop.cuts(lambda: None):
        pytest.fail("entered")


def test_an_error_of_the_blocks_own_stays_when_nobody_said_stop() -> None:
    with pytest.raises(ZeroDivisionError), StopSignal().cuts(lambda: None):
        raise ZeroDivisionError


def test_what_has_ended_is_not_cut_any_more() -> None:
    stop = StopSignal()
    with stop.cuts(lambda: pytest.fail("cut after its end")):
        pass
    stop.set(STOP)


def test_every_blocked_call_is_cut() -> None:
    stop, cut = StopSignal(), []
    with (
        pytest.raises(CancelledError),
        stop.cuts(lambda: cut.append("outer")),
        stop.cuts(lambda: cut.append("inner")),
    ):
        stop.set(STOP)
    assert cut == ["outer", "inner"]
