"""The times of the three watches fit together; each line is a sentence of the module's page."""

from math import ceil

from jobs.system.watch_times import (
    HAND_OVER_AFTER_S,
    HEARTBEAT_EVERY_S,
    HOLDERS_LOOKS,
    LEASE,
    LOCKED_AT_MOST_S,
    LONG_LOOKS,
    RENEW_EVERY_S,
    SECOND_LOOK_AFTER_S,
    SUPERVISOR_LOOKS_EVERY_S,
    TAKE_BACK_EVERY_S,
    WORK_STOP_S,
)

PROMISED_S = 60
LEASE_S = LEASE.total_seconds()
# A second look is taken at a round, the first one after `SECOND_LOOK_AFTER_S`.
WORKERS_SECOND_S = ceil(SECOND_LOOK_AFTER_S / HEARTBEAT_EVERY_S) * HEARTBEAT_EVERY_S
WATCHERS_SECOND_S = ceil(SECOND_LOOK_AFTER_S / TAKE_BACK_EVERY_S) * TAKE_BACK_EVERY_S
# Stopped just after it has renewed, and looked at at once.
WORKER_KILLS_FROM_S = HEARTBEAT_EVERY_S * (LONG_LOOKS - 1)
# With a lease that has less than one renewal left, a holder has missed two.
WORKER_KILLS_UNTIL_S = LEASE_S - RENEW_EVERY_S + HEARTBEAT_EVERY_S + WORKERS_SECOND_S
WATCHER_TAKES_FROM_S = LEASE_S + WATCHERS_SECOND_S
WATCHER_TAKES_UNTIL_S = WATCHER_TAKES_FROM_S + TAKE_BACK_EVERY_S


def test_a_lease_outlives_two_missed_renewals() -> None:
    assert LEASE_S == 3 * RENEW_EVERY_S


def test_a_holder_that_can_write_again_renews_before_the_second_look() -> None:
    assert SECOND_LOOK_AFTER_S > RENEW_EVERY_S


def test_a_worker_has_killed_its_child_before_the_watcher_takes_the_lease() -> None:
    assert WORKER_KILLS_UNTIL_S + LOCKED_AT_MOST_S < WATCHER_TAKES_FROM_S
    assert HEARTBEAT_EVERY_S * LONG_LOOKS < WATCHER_TAKES_FROM_S


def test_a_heartbeat_waits_for_a_locked_database_less_than_until_the_next() -> None:
    assert LOCKED_AT_MOST_S < HEARTBEAT_EVERY_S


def test_a_process_that_blocks_renewals_is_killed_before_leases_expire() -> None:
    assert HOLDERS_LOOKS * SUPERVISOR_LOOKS_EVERY_S < LEASE_S


def test_a_child_hands_over_long_before_it_would_be_killed() -> None:
    assert HEARTBEAT_EVERY_S < HAND_OVER_AFTER_S
    assert HAND_OVER_AFTER_S + HEARTBEAT_EVERY_S < WORK_STOP_S / 2


def test_everything_is_over_within_what_is_promised() -> None:
    slowest = max(WATCHER_TAKES_UNTIL_S, LONG_LOOKS * SUPERVISOR_LOOKS_EVERY_S)
    assert slowest + TAKE_BACK_EVERY_S < PROMISED_S


def test_the_table_says_these_times() -> None:
    assert (WORKER_KILLS_FROM_S, WORKER_KILLS_UNTIL_S) == (16, 22)
    assert (WATCHER_TAKES_FROM_S, WATCHER_TAKES_UNTIL_S) == (25, 30)
    looks_s = SUPERVISOR_LOOKS_EVERY_S
    assert (looks_s * (HOLDERS_LOOKS - 1), looks_s * HOLDERS_LOOKS) == (5, 10)
    assert TAKE_BACK_EVERY_S == 5
