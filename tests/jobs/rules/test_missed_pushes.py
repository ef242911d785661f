"""What is made of what GitHub and the branches say; no database, no network."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobs.rules.missed_pushes import (
    Sight,
    in_words,
    joined,
    judge_head,
    looks_back_to,
    missed_pushes,
)
from jobs.rules.repository_values import HookDelivery
from jobs.rules.triggers import Deploy, Ignored

NOON = datetime(2026, 11, 23, 12, tzinfo=UTC)
HOUR, DAY = timedelta(hours=1), timedelta(days=1)
A, B = "a" * 40, "b" * 40


def attempt(number: int, guid: str, *, event: str = "push", status_code: int = 502) -> HookDelivery:
    """Describe an attempt, a second after the one before it."""
    at = NOON + timedelta(seconds=number)
    return HookDelivery(number, guid, event, at, status_code, "words")


def test_the_newest_push_comes_first_by_its_first_attempt() -> None:
    attempts = [attempt(1, "old"), attempt(2, "new"), attempt(3, "old", status_code=503)]
    first, second = missed_pushes(attempts, seen=())
    assert (first.guid, second.guid) == ("new", "old")
    assert (second.at, second.last.id, second.why) == (
        NOON + timedelta(seconds=1),
        3,
        "GitHub was answered 503",
    )


def test_received_deliveries_and_other_events_are_no_missed_pushes() -> None:
    attempts = [attempt(1, "seen"), attempt(2, "ping", event="ping"), attempt(3, "missed")]
    assert [push.guid for push in missed_pushes(attempts, seen={"seen"})] == ["missed"]


@given(st.permutations([attempt(number, f"guid-{number % 4}") for number in range(10)]))
def test_the_order_of_githubs_list_does_not_matter(attempts: list[HookDelivery]) -> None:
    missed = missed_pushes(attempts, seen={"guid-0"})
    assert [(push.guid, push.last.id) for push in missed] == [
        ("guid-3", 7),
        ("guid-2", 6),
        ("guid-1", 9),
    ]


@pytest.mark.parametrize(
    ("settled_until", "first_app_at", "since"),
    [
        (None, NOON - 30 * DAY, NOON - 3 * DAY),
        (None, NOON - DAY, NOON - DAY),
        (NOON - 2 * HOUR, NOON - 30 * DAY, NOON - 3 * HOUR),
        (NOON - 10 * DAY, NOON - 30 * DAY, NOON - 3 * DAY),
        (NOON, NOON - HOUR / 2, NOON - HOUR / 2),
    ],
)
def test_the_look_back_time_is_no_earlier_than_needed(
    settled_until: datetime | None, first_app_at: datetime, since: datetime
) -> None:
    found = looks_back_to(NOON, settled_until=settled_until, first_app_at=first_app_at)
    assert found == since


def sight(**changes: object) -> Sight:
    """Describe a branch that has moved on from A to B without anybody's knowing."""
    fields = {
        "ref": "refs/heads/main",
        "head": B,
        "base": A,
        "seen": A,
        "is_known": False,
        "asked_for": None,
        **changes,
    }
    return Sight(**fields)  # type: ignore[arg-type]


@pytest.mark.parametrize("seen", [A, None])
def test_a_head_that_nobody_knows_is_a_missed_push(seen: str | None) -> None:
    assert judge_head(sight(seen=seen)) == Deploy()


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"head": None}, "the branch main does not exist"),
        ({"is_known": True}, "nothing was missed"),
        ({"seen": B}, "nothing was missed"),
        ({"base": None, "seen": None}, "main is compared from now on; the first deployment is"),
        ({"asked_for": 7}, "main has moved on, but #7 was asked for meanwhile"),
    ],
)
def test_the_reason_against_a_deployment_is_given(changes: dict[str, object], reason: str) -> None:
    verdict = judge_head(sight(**changes))
    assert isinstance(verdict, Ignored)
    assert verdict.reason.startswith(reason)


@pytest.mark.parametrize(
    ("missed", "outcomes", "words"),
    [
        (0, [], "nothing was missed"),
        (0, ["nothing was missed", "nothing was missed"], "nothing was missed"),
        (1, ["#1 of web is queued"], "1 push was missed: #1 of web is queued"),
        (3, ["#1 of web is queued", "x"], "3 pushes were missed: #1 of web is queued, x"),
    ],
)
def test_what_was_found_is_one_sentence(missed: int, outcomes: list[str], words: str) -> None:
    assert in_words(missed, joined(outcomes)) == words


def test_a_sentence_fits_its_column() -> None:
    assert len(in_words(9, joined([str(number) * 100 for number in range(9)]))) == 500


def test_without_findings_there_is_no_sentence() -> None:
    assert in_words(None, "") == ""
