"""What wants a person: each kind is told once, the worst first, with where to go."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from dashboard.attention import Concern, concerns
from dashboard.overview_reads import (
    IdentityTrouble,
    Machine,
    MissedPushes,
    NameAdvice,
    Queue,
    Standing,
    TokenTrouble,
    Unused,
)
from jobs.reads.views import CertificateView
from jobs.states import AppState
from jobs.storage.models import Vitals, now

AT = now()
WELL = Standing(
    id=1,
    name="web",
    state=AppState.RUNNING,
    reason="",
    went_back=False,
    is_paused=False,
    paused_reason="",
    needs_redeploy=False,
)


def machine(**columns: object) -> Machine:
    wanted: dict[str, Any] = {
        "at": AT,
        "workers": 2,
        "disk_free": 9,
        "disk_total": 10,
        "problems": {},
        **columns,
    }
    return Machine(Queue(0, None), 0, Vitals(**wanted), [])


def told(found: list[Concern]) -> list[str]:
    return [f"{concern.tone}: {concern.subject} {concern.words}" for concern in found]


def test_nothing_is_said_where_all_is_well() -> None:
    assert concerns([WELL], [], machine(), AT) == []


def test_a_keystone_that_never_had_a_watcher_is_not_blamed_for_it() -> None:
    assert concerns([WELL], [], Machine(Queue(0, None), 0, None, []), AT) == []


@pytest.mark.parametrize(
    ("columns", "words"),
    [
        ({"at": AT - timedelta(minutes=1)}, "bad: The watcher has been silent"),
        ({"workers": 0}, "bad: Workers are not there"),
        ({"problems": {"docker": "no answer"}}, "bad: Docker no answer"),
        ({"problems": {"disk": "only 3 MB are free"}}, "bad: The disk only 3 MB are free"),
    ],
)
def test_the_machine_comes_first(columns: dict[str, object], words: str) -> None:
    failing = replace(WELL, state=AppState.FAILING, reason="it broke")
    first, second = told(concerns([failing], [], machine(**columns), AT))
    assert first.startswith(words)
    assert second == "bad: web it broke"


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"state": AppState.STOPPED, "reason": "it exited"}, "bad: web it exited"),
        ({"reason": "#7 did not stay up", "went_back": True}, "warn: web #7 did not stay up"),
        ({"reason": "deployment #7 failed: x"}, "warn: web deployment #7 failed: x; the previous"),
        ({"is_paused": True}, "idle: web auto-deploy is paused"),
        ({"is_paused": True, "paused_reason": "v3"}, "idle: web auto-deploy is paused: v3"),
        ({"needs_redeploy": True}, "idle: web its configuration has changed"),
    ],
)
def test_an_app_that_wants_somebody_leads_to_its_page(
    changes: dict[str, object], words: str
) -> None:
    (concern,) = concerns([replace(WELL, **changes)], [], machine(), AT)  # type: ignore[arg-type]
    assert told([concern])[0].startswith(words)
    assert (concern.href, concern.app) == ("/apps/web", "web")


def test_a_deployment_that_runs_is_no_concern() -> None:
    going_on = replace(WELL, state=AppState.DEPLOYING, reason="deployment #7 failed: x")
    assert concerns([going_on], [], machine(), AT) == []


@pytest.mark.parametrize(
    ("problem", "left", "words"),
    [
        ("Bad credentials", None, "bad: octo/web Bad credentials"),
        (None, timedelta(days=3), "warn: octo/web the token expires on"),
        (None, -timedelta(days=3), "warn: octo/web the token expired on"),
    ],
)
def test_a_token_is_told_before_and_after_its_end(
    problem: str | None, left: timedelta | None, words: str
) -> None:
    trouble = TokenTrouble("octo/web", "web", problem, None if left is None else AT + left)
    (concern,) = concerns([WELL], [trouble], machine(), AT)
    assert told([concern])[0].startswith(words)
    assert concern.href == "/apps/web"


def test_an_identity_in_doubt_is_told() -> None:
    trouble = IdentityTrouble("octo/web", "web", "GitHub says that it is the same as octo/site")
    (concern,) = concerns([WELL], [trouble], machine(), AT)
    assert told([concern]) == ["warn: octo/web GitHub says that it is the same as octo/site"]
    assert (concern.href, concern.app) == ("/apps/web", "web")


@pytest.mark.parametrize("page", ["/repositories", ""])
def test_a_repository_without_an_app_is_told(page: str) -> None:
    (concern,) = concerns([WELL], [Unused("octo/old", page)], machine(), AT)
    assert told([concern])[0].startswith("idle: octo/old has no app any more")
    assert concern.href == page


def test_pushes_that_were_missed_lead_to_the_deliveries() -> None:
    (concern,) = concerns([], [MissedPushes("octo/web", "2 pushes")], machine(), AT)
    assert "2 pushes" in concern.words
    assert concern.href == "/deliveries?repository=octo/web"


def test_a_certificate_that_ends_is_told() -> None:
    certificate = CertificateView(
        domain="a.example",
        app="web",
        not_after=AT,
        problem="expires on 2026-11-28",
        is_keystone=False,
        created_at=AT,
    )
    found = concerns([], [], replace(machine(), certificates=[certificate]), AT)
    assert told(found) == ["warn: a.example its certificate expires on 2026-11-28"]


def test_a_dashboard_without_a_name_of_its_own_is_told_last() -> None:
    paused = replace(WELL, is_paused=True)
    found = concerns([paused], [NameAdvice("has no host name")], machine(), AT)
    assert told(found)[-1] == "idle: The dashboard has no host name"
