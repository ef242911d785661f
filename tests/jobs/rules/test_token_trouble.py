"""When somebody has to look after a token."""

from datetime import UTC, datetime, timedelta

import pytest

from jobs.rules.token_trouble import token_problem

MOMENT = datetime(2026, 11, 23, 12, tzinfo=UTC)
REFUSED = "the token lacks a permission; GitHub wants statuses=write"


@pytest.mark.parametrize(
    ("told", "left", "problem"),
    [
        (None, None, None),
        (None, timedelta(days=14, seconds=1), None),
        (None, timedelta(days=14), "the token expires on 2026-12-07"),
        (None, timedelta(seconds=1), "the token expires on 2026-11-23"),
        (None, timedelta(0), "the token expired on 2026-11-23"),
        (REFUSED, None, REFUSED),
        (REFUSED, timedelta(days=1), REFUSED),
    ],
)
def test_what_is_wrong_with_a_token(
    told: str | None, left: timedelta | None, problem: str | None
) -> None:
    found = token_problem(told, None if left is None else MOMENT + left, at=MOMENT)
    assert (found or "").partition(";")[0] == (problem or "").partition(";")[0]
