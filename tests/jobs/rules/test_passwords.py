"""Which passwords are refused: those that guessers begin with, and no others."""

import secrets
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobs.rules.passwords import ROWS, SHORTEST, WORDS, weakness

_GUESSED = """
password Password1 P@ssw0rd! passw0rd123 qwerty123 12345678 123456789 1q2w3e4r 1qaz2wsx abcd1234
adminadmin keystone Keystone1! keystone2026 iloveyou letmein1 trustno1 Summer2024! monkey77
11223344 zxcvbnm1 87654321 welcome1 w3lc0me! changeme superman football !@#$%^&* 00000000
a1b2c3d4 1234qwer 123123123 passwordpassword 20202020 mypassword 1122334455
"""
WIDE = "\uff50\uff41\uff53\uff53\uff57\uff4f\uff52\uff44"  # password, as wide as Chinese letters
GUESSED = [*_GUESSED.split(), WIDE]
GOOD = [
    "correct horse battery",
    "a new password",
    "another long one",
    "tr0ub4dor&3",
    "Grüße aus Köln",
    "7 Kraniche, 3 Tassen",
    "пароль не простой",
]


@pytest.mark.parametrize("password", GUESSED)
def test_what_anybody_would_try_is_refused_without_being_quoted(password: str) -> None:
    told = weakness(password)
    assert told.startswith("is too easy to guess: it is made of ")
    assert password not in told.replace("let a password manager", "")


@pytest.mark.parametrize("password", GOOD)
def test_what_nobody_would_try_is_taken(password: str) -> None:
    assert weakness(password, ["ada"]) == ""


@pytest.mark.parametrize(
    "password", ["ada-lovelace", "Ada-Lovelace1!", "ADA-LOVELACE2026", "1ad4-lovelace"]
)
def test_a_users_own_name_is_the_first_guess(password: str) -> None:
    assert weakness(password, ["ada-lovelace"])
    assert weakness(password) == ""


@given(st.sampled_from(sorted(WORDS)), st.sampled_from(ROWS))
def test_every_word_and_every_row_counts_as_one_piece(word: str, row: str) -> None:
    assert weakness(f"{word.title()}{word}1!")
    assert weakness(row[::-1] + "x")


def test_passwords_made_by_chance_are_taken() -> None:
    assert not any(weakness(secrets.token_urlsafe(12)) for _ in range(2000))


@pytest.mark.parametrize("password", ["", "x", "Xk3$9fQ"])
def test_a_short_one_is_told_to_be_longer(password: str) -> None:
    assert weakness(password) == f"use at least {SHORTEST} characters"


@given(st.text(max_size=60))
def test_any_text_is_judged(password: str) -> None:
    assert isinstance(weakness(password, [password]), str)


@pytest.mark.parametrize(
    "password", ["x" * 1000, "passw0rd" * 125, "ab1" * 333, "qwertyuiop" * 100]
)
def test_the_longest_one_is_judged_quickly(password: str) -> None:
    begun = time.process_time()
    weakness(password)
    assert time.process_time() - begun < 5  # a hundredth of that on a machine with nothing to do
