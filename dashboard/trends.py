"""An app's deployments over time: how long they take, and how many succeed. Pure.

There are two charts, and a table with the same data. Successes are drawn above a line and failures
below it, so that colour alone never carries the meaning.
"""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from statistics import median

from markupsafe import Markup

from dashboard import labels
from dashboard.page_reads import Recent
from jobs.states import DeploymentState

WEEKS = 12
MOST_POINTS = 60
FEWEST_POINTS = 3  # fewer do not show a trend
WIDTH, HEIGHT = 600, 120
FAILED = frozenset({DeploymentState.FAILURE, DeploymentState.ERROR})


@dataclass(frozen=True)
class Week:
    """The outcomes of the deployments of one week, which is named by its Monday."""

    monday: date
    succeeded: int
    failed: int
    median_s: float | None  # of the successful deployments


@dataclass(frozen=True)
class Trends:
    """Both charts, each with a sentence that describes it, and the weeks as table rows."""

    durations: Markup
    duration_words: str
    outcomes: Markup
    outcome_words: str
    weeks: Sequence[Week]


def trends(past: Sequence[Recent], at: datetime) -> Trends | None:
    """Compute the trends of an app's deployments; None when there are too few.

    Args:
        past: the app's last deployments, the oldest first.
    """
    took = [row.seconds or 0 for row in past if row.state is DeploymentState.SUCCESS]
    weeks = _weeks(past, at)
    if len(took) < FEWEST_POINTS:
        return None
    took = took[-MOST_POINTS:]
    typical, longest = labels.duration(median(took)), labels.duration(max(took))
    duration_words = f"median {typical}, longest {longest}, of the last {len(took)}"
    outcome_words = _share(weeks)
    return Trends(
        durations=_line(took, f"How long successful deployments took: {duration_words}."),
        duration_words=duration_words,
        outcomes=_columns(weeks, f"Successes and failures in {WEEKS} weeks: {outcome_words}."),
        outcome_words=outcome_words,
        weeks=[week for week in reversed(weeks) if week.succeeded or week.failed],
    )


def _weeks(past: Sequence[Recent], at: datetime) -> list[Week]:
    this = _monday(at)
    found: dict[date, list[Recent]] = defaultdict(list)
    for row in past:
        found[_monday(row.queued_at)].append(row)
    return [_week(monday, found[monday]) for monday in _mondays_until(this)]


def _mondays_until(last: date) -> list[date]:
    return [last - timedelta(weeks=back) for back in range(WEEKS - 1, -1, -1)]


def _monday(moment: datetime) -> date:
    day = moment.date()
    return day - timedelta(days=day.weekday())


def _week(monday: date, rows: Sequence[Recent]) -> Week:
    took = [row.seconds or 0 for row in rows if row.state is DeploymentState.SUCCESS]
    failed = sum(row.state in FAILED for row in rows)
    return Week(monday, len(took), failed, median(took) if took else None)


def _share(weeks: Sequence[Week]) -> str:
    succeeded = sum(week.succeeded for week in weeks)
    ended = succeeded + sum(week.failed for week in weeks)
    if not ended:
        return "none was deployed"
    return f"{succeeded} of {ended} succeeded, {100 * succeeded // ended} %"


def _line(values: Sequence[float], words: str) -> Markup:
    """Draw the values from left to right, and their median as a dashed line."""
    top = max(values) or 1
    wide = WIDTH / (len(values) - 1)
    spots = [
        f"{place * wide:.0f} {HEIGHT - 4 - value / top * (HEIGHT - 10):.0f}"
        for place, value in enumerate(values)
    ]
    middle = HEIGHT - 4 - median(values) / top * (HEIGHT - 10)
    return _drawing(
        words,
        f'<path class="area" d="M0 {HEIGHT}L{"L".join(spots)}L{WIDTH} {HEIGHT}z"/>'
        f'<path class="rule" d="M0 {middle:.0f}H{WIDTH}" vector-effect="non-scaling-stroke"/>'
        f'<path class="curve" d="M{"L".join(spots)}" vector-effect="non-scaling-stroke"/>',
    )


def _columns(weeks: Sequence[Week], words: str) -> Markup:
    """Draw one column per week: successes above a line, failures below it."""
    up, down = max(week.succeeded for week in weeks), max(week.failed for week in weeks)
    unit = (HEIGHT - 2) / max(up + down, 1)
    line = 1 + up * unit
    wide = WIDTH / len(weeks)
    good, bad = "", ""
    for place, week in enumerate(weeks):
        x = f"{place * wide + wide * 0.15:.0f}"
        across = f"h{wide * 0.7:.0f}v"
        good += f"M{x} {line:.0f}v-{week.succeeded * unit:.0f}{across}{week.succeeded * unit:.0f}z"
        bad += f"M{x} {line:.0f}v{week.failed * unit:.0f}{across}-{week.failed * unit:.0f}z"
    return _drawing(
        words,
        f'<path class="good" d="{good}"/><path class="bad" d="{bad}"/>'
        f'<path class="base" d="M0 {line:.0f}H{WIDTH}" vector-effect="non-scaling-stroke"/>',
    )


def _drawing(words: str, inside: str) -> Markup:
    # `inside` needs no escaping: it has only our own numbers and names. The chart fills its space.
    return Markup(
        '<svg class="trend" viewBox="0 0 {} {}" width="100%" height="{}" role="img" '
        'preserveAspectRatio="none" aria-label="{}"><title>{}</title>{}</svg>'
    ).format(WIDTH, HEIGHT, HEIGHT, words, words, Markup(inside))  # noqa: S704
