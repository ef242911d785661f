"""How often a password may be tried: by an honest person, a guesser, and many guessers at once."""

from dataclasses import dataclass

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from receiver.errors import RateLimitedError
from receiver.login_limits import FORGET_AFTER_S, MOST_KEYS, Delays, LoginGate
from receiver.proxies import neighbourhood

HOME, AWAY = "192.0.2.7", "198.51.100.9"
DAY_S = 86_400


@dataclass
class FakeClock:
    """Time that passes when it is told to."""

    seconds: float = 1000.0

    def __call__(self) -> float:
        return self.seconds


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def gate(clock: FakeClock) -> LoginGate:
    return LoginGate(clock)


def wait_s(gate: LoginGate, name: str = "ada", address: str = HOME) -> int:
    """Try once; gives the seconds it has to wait, 0 when it was let in."""
    try:
        gate.enter(name=name, address=address)
    except RateLimitedError as exc:
        return exc.retry_after_s
    return 0


def attempts_in(gate: LoginGate, clock: FakeClock, *, within_s: float, addresses: int) -> int:
    """Guess at one account as often as it goes, from so many addresses."""
    end, let_in = clock.seconds + within_s, 0
    while clock.seconds < end:
        waits = [wait_s(gate, address=f"10.0.0.{number}") for number in range(addresses)]
        let_in += waits.count(0)
        clock.seconds += 1
    return let_in


def test_a_few_mistakes_are_free(gate: LoginGate) -> None:
    assert [wait_s(gate) for _ in range(5)] == [0] * 5


def test_each_failure_after_that_waits_longer_up_to_a_quarter_of_an_hour(
    gate: LoginGate, clock: FakeClock
) -> None:
    waits = []
    for _ in range(16):
        while (wait := wait_s(gate)) > 0:
            waits.append(wait)
            clock.seconds += wait
    assert waits == [1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 900]


def test_asking_too_early_makes_nothing_worse(gate: LoginGate) -> None:
    for _ in range(5):
        wait_s(gate)
    assert [wait_s(gate) for _ in range(50)] == [1] * 50


def test_coming_in_forgives_the_mistakes_before(gate: LoginGate) -> None:
    for _ in range(5):
        wait_s(gate)
    gate.forgive(name="ada", address=HOME)
    assert [wait_s(gate) for _ in range(5)] == [0] * 5


def test_a_quiet_time_forgives_too(gate: LoginGate, clock: FakeClock) -> None:
    for _ in range(5):
        wait_s(gate)
    clock.seconds += FORGET_AFTER_S + 2
    assert [wait_s(gate) for _ in range(5)] == [0] * 5


def test_an_address_that_tries_many_accounts_waits(gate: LoginGate) -> None:
    waits = [wait_s(gate, f"user-{number}") for number in range(21)]
    assert waits == [0] * 20 + [1]
    assert wait_s(gate, "ada", AWAY) == 0


def test_an_account_of_ones_own_does_not_wipe_off_guesses_at_others(gate: LoginGate) -> None:
    for number in range(19):
        wait_s(gate, f"user-{number}")
    wait_s(gate, "mallory")
    gate.forgive(name="mallory", address=HOME)
    assert [wait_s(gate, f"other-{number}") for number in range(2)] == [0, 1]


def test_one_machine_guesses_about_a_hundred_passwords_a_day(
    gate: LoginGate, clock: FakeClock
) -> None:
    assert attempts_in(gate, clock, within_s=DAY_S, addresses=1) < 120


def test_many_machines_together_are_slow_too(gate: LoginGate, clock: FakeClock) -> None:
    assert attempts_in(gate, clock, within_s=3600, addresses=50) < 160


def test_an_attack_from_elsewhere_does_not_keep_the_owner_out(
    gate: LoginGate, clock: FakeClock
) -> None:
    wait_s(gate)
    gate.forgive(name="ada", address=HOME)
    attempts_in(gate, clock, within_s=600, addresses=50)
    assert wait_s(gate, "ada", HOME) == 0


def test_whoever_comes_from_a_new_place_during_an_attack_waits_half_a_minute_at_most(
    gate: LoginGate, clock: FakeClock
) -> None:
    attempts_in(gate, clock, within_s=600, addresses=50)
    assert wait_s(gate, "ada", AWAY) <= 30


def test_a_name_nobody_has_is_counted_like_any_other(gate: LoginGate) -> None:
    for name in ("no-such-user", "No Name\0"):
        assert [wait_s(gate, name, AWAY if "\0" in name else HOME) for _ in range(6)] == [0] * 5 + [
            1
        ]


def test_memory_is_bounded(clock: FakeClock) -> None:
    delays = Delays(free=1, longest_s=60, clock=clock)
    for number in range(MOST_KEYS + 100):
        delays.count(str(number))
    assert [delays.wait_s(str(number)) for number in (0, 99, 100)] == [0, 0, 1]


@example([0.0, 0.0, 0.0, 339.0, 904.0, 907.5932306465687, 916.0, 0.0])
@given(st.lists(st.floats(min_value=0, max_value=2000), max_size=60))
def test_no_wait_is_ever_longer_than_the_bound(pauses: list[float]) -> None:
    clock = FakeClock()
    delays = Delays(free=3, longest_s=30, clock=clock)
    for pause in pauses:
        delays.count("key")
        assert 0 <= delays.wait_s("key") <= 30
        clock.seconds += pause


@pytest.mark.parametrize(
    ("address", "near"),
    [
        ("192.0.2.7", "192.0.2.7"),
        ("::ffff:192.0.2.7", "192.0.2.7"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:db8:1:2::9", "2001:db8:1:2::/64"),
        ("testclient", "testclient"),
        ("", ""),
    ],
)
def test_what_counts_as_one_address(address: str, near: str) -> None:
    assert neighbourhood(address) == near
