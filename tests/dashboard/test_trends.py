"""How an app's deployments went: drawn and said, from what is known and no more."""

import xml.etree.ElementTree as ET
from datetime import UTC, datetime, timedelta

from dashboard.page_reads import Recent
from dashboard.trends import WEEKS, trends
from jobs.states import DeploymentState

AT = datetime(2026, 11, 25, 12, tzinfo=UTC)  # a Wednesday
SUCCESS, FAILURE = DeploymentState.SUCCESS, DeploymentState.FAILURE


def made(*seconds: float, state: DeploymentState = SUCCESS, ago: timedelta) -> list[Recent]:
    begun = AT - ago
    return [
        Recent(1, n, state, begun, begun, begun + timedelta(seconds=took))
        for n, took in enumerate(seconds)
    ]


def test_too_few_say_nothing() -> None:
    assert trends(made(1, 2, ago=timedelta(0)), AT) is None
    assert trends(made(*[1] * 9, state=FAILURE, ago=timedelta(0)), AT) is None


def test_each_chart_has_a_description_in_words() -> None:
    past = made(10, 20, 60, ago=timedelta(days=7)) + made(1, state=FAILURE, ago=timedelta(0))
    found = trends(past, AT)
    assert found is not None
    assert found.duration_words == "median 20 s, longest 1 min 0 s, of the last 3"
    assert found.outcome_words == "3 of 4 succeeded, 75 %"
    assert [(str(week.monday), week.succeeded, week.failed) for week in found.weeks] == [
        ("2026-11-23", 0, 1),
        ("2026-11-16", 3, 0),
    ]


def test_what_is_older_than_the_weeks_that_are_drawn_is_not_counted() -> None:
    past = made(1, 1, 1, 1, ago=timedelta(weeks=WEEKS + 1))
    found = trends(past, AT)
    assert found is not None
    assert found.outcome_words == "none was deployed"
    assert found.weeks == []


def test_failures_hang_below_the_line_that_successes_stand_on() -> None:
    found = trends(made(1, 1, 1, ago=timedelta(0)) + made(1, state=FAILURE, ago=timedelta(0)), AT)
    assert found is not None
    drawn = ET.fromstring(found.outcomes)  # noqa: S314
    paths = {path.get("class"): path.get("d") or "" for path in drawn if path.get("d")}
    line = paths["base"].removeprefix("M0 ").partition("H")[0]
    assert f" {line}v-" in paths["good"]
    assert f" {line}v" in paths["bad"].replace(f" {line}v-", "")


def test_both_drawings_are_well_formed_and_have_a_title() -> None:
    found = trends(made(5, 0, 7, ago=timedelta(0)), AT)
    assert found is not None
    for drawing in (found.durations, found.outcomes):
        root = ET.fromstring(drawing)  # noqa: S314
        assert root[0].text == root.get("aria-label")
        assert "style" not in root.attrib


def test_deployments_that_took_no_time_break_nothing() -> None:
    assert trends(made(0, 0, 0, ago=timedelta(0)), AT) is not None
