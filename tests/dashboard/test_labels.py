"""Every state has a word, a tone and a shape; times are said for people."""

import re
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dashboard import charts, labels
from jobs.reads.views import AppView
from jobs.states import (
    AppState,
    DeliveryOutcome,
    DeploymentState,
    DeployOn,
    GitHubState,
    Kind,
    Role,
    StepName,
    StepState,
    Trigger,
)

NOON = datetime(2026, 11, 23, 12, tzinfo=UTC)
LOOKS = (
    (labels.DEPLOYMENT_LOOKS, DeploymentState),
    (labels.STEP_LOOKS, StepState),
    (labels.APP_LOOKS, AppState),
    (labels.DELIVERY_LOOKS, DeliveryOutcome),
    (labels.GITHUB_LOOKS, GitHubState),
)


@pytest.mark.parametrize(("looks", "states"), LOOKS)
def test_every_state_has_a_look_that_can_be_drawn(
    looks: dict[object, labels.Look], states: type[StrEnum]
) -> None:
    assert set(looks) == set(states)
    for look in looks.values():
        assert f"icon {look.tone}" in charts.icon(look.shape, look.tone)
        assert look.tone in charts.FAVICONS


@pytest.mark.parametrize(("looks", "_states"), LOOKS)
def test_looks_of_different_colours_never_share_a_shape(
    looks: dict[object, labels.Look], _states: type[StrEnum]
) -> None:
    tones_by_shape: dict[str, set[str]] = {}
    for look in looks.values():
        tones_by_shape.setdefault(look.shape, set()).add(look.tone)
    assert all(len(tones) == 1 for tones in tones_by_shape.values())


def test_every_word_of_the_domain_has_one_for_people() -> None:
    assert set(labels.STEP_WORDS) == set(StepName)
    assert set(labels.TRIGGER_WORDS) == set(Trigger)
    assert set(labels.DELIVERY_ANSWERS) == set(DeliveryOutcome)


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (None, "–"),  # noqa: RUF001
        (-1, "0.0 s"),
        (0.44, "0.4 s"),
        (9.96, "10 s"),
        (59.4, "59 s"),
        (59.6, "1 min 0 s"),
        (72, "1 min 12 s"),
        (3600, "1 h 0 min"),
        (7500, "2 h 5 min"),
        (97_200, "1 d 3 h"),
    ],
)
def test_durations_are_said_for_people(seconds: float | None, words: str) -> None:
    assert labels.duration(seconds) == words


@given(st.floats(min_value=0, max_value=1e7))
def test_a_duration_never_overflows_its_units(seconds: float) -> None:
    numbers = [float(part) for part in re.findall(r"[\d.]+", labels.duration(seconds))]
    assert all(number < 60 for number in numbers[1:])


@pytest.mark.parametrize(
    ("ago", "words"),
    [
        (timedelta(seconds=-30), "just now"),
        (timedelta(seconds=4), "just now"),
        (timedelta(seconds=59), "59 s ago"),
        (timedelta(minutes=59), "59 min ago"),
        (timedelta(hours=23), "23 h ago"),
        (timedelta(days=29), "29 d ago"),
        (timedelta(days=53), "2026-10-01"),
    ],
)
def test_ages_are_said_for_people(ago: timedelta, words: str) -> None:
    assert labels.age(NOON - ago, NOON) == words


def test_moments_are_given_exactly_in_utc() -> None:
    local = datetime.fromisoformat("2026-11-23T13:30:05.123456+01:30")
    assert labels.exact(local) == "2026-11-23 12:00:05 UTC"
    assert labels.machine(local) == "2026-11-23T12:00:05.123Z"


@given(st.text())
def test_the_first_line_of_a_message_is_one_line(message: str) -> None:
    assert len(labels.first_line(message).splitlines()) <= 1


def test_refs_are_said_the_way_people_write_them() -> None:
    assert labels.ref_words("refs/heads/feature/a") == "feature/a"
    assert labels.ref_words("ab" * 20) == "abababa"
    assert labels.ref_words("") == ""


@pytest.mark.parametrize("url", ["file:///srv/web.git", "javascript:alert(1)//", "ssh://host/x"])
def test_only_a_web_address_becomes_a_commits_link(url: str) -> None:
    assert labels.commit_url(url, "a" * 40) is None


def test_a_commits_link_leads_to_the_repositorys_pages() -> None:
    wanted = f"https://github.com/octo/web/commit/{'a' * 40}"
    assert labels.commit_url("https://github.com/octo/web.git", "a" * 40) == wanted
    assert labels.commit_url("https://github.com/octo/web.git", "main") is None


def test_a_refusal_names_the_role_that_is_needed() -> None:
    assert labels.needs_role(Role.DEPLOYER, Role.ADMIN) == ""
    assert "needs deployer" in labels.needs_role(Role.DEPLOYER, Role.VIEWER)


@pytest.mark.parametrize(
    ("kind", "trigger", "words"),
    [
        (Kind.INITIAL, Trigger.MANUAL, "first deployment"),
        (Kind.UPDATE, Trigger.PUSH, "update"),
        (Kind.UPDATE, Trigger.MANUAL, "redeploy"),
        (Kind.ROLLBACK, Trigger.ROLLBACK, "rollback"),
    ],
)
def test_an_update_that_a_person_asked_for_is_a_redeploy(
    kind: Kind, trigger: Trigger, words: str
) -> None:
    assert labels.kind_words(kind, trigger) == words


@pytest.mark.parametrize(
    ("fields", "source", "push", "by_hand"),
    [
        ({}, "main", "Push to main", "main"),
        ({"tag_pattern": "v*"}, "main", "Push to main", "main"),
        (
            {"deploy_on": DeployOn.TAGS, "tag_pattern": "v*"},
            "tags v*",
            "Push a tag that matches v*",
            "the newest tag",
        ),
        ({"deploy_on": DeployOn.TAGS}, "tags", "Push a tag", "the newest tag"),
    ],
)
def test_what_deploys_an_app_has_words_of_its_own(
    fields: dict[str, object], source: str, push: str, by_hand: str
) -> None:
    known: dict[str, Any] = {
        "branch": "main",
        "tag_pattern": None,
        "deploy_on": DeployOn.BRANCH,
        **fields,
    }
    app = AppView.model_construct(None, **known)
    told = labels.source_words(app), labels.push_words(app), labels.default_words(app)
    assert told == (source, push, by_hand)
