"""A deployment's steps as a timeline: the state, start and duration of each. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from dashboard import labels
from jobs.reads.views import DeploymentView, SectionView, StepView
from jobs.states import Kind, StepName

LEAST_WIDTH = 1.5  # per cent, so that the shortest step is visible


@dataclass(frozen=True)
class Stage:
    """One entry of the timeline: a step that has begun or is still ahead.

    `begins` and `width` are in per cent of the deployment's whole time; `line` is the number of its
    first line in the log, if it has written any.
    """

    word: str
    look: labels.Look
    step: StepView | None = None
    seconds: float | None = None
    begins: float = 0
    width: float = 0
    line: int | None = None


def timeline(
    deployment: DeploymentView, sections: Sequence[SectionView], now: datetime
) -> list[Stage]:
    """Give the steps that have begun and, while the deployment runs, those still ahead."""
    steps = deployment.steps
    lines = {section.step: section.first for section in sections}
    whole = max([(_end(step, now) - steps[0].started_at).total_seconds() for step in steps] or [0])
    begun = [_stage(step, steps[0].started_at, whole, lines, now) for step in steps]
    return [*begun, *_ahead(deployment)]


def _stage(
    step: StepView, start: datetime, whole: float, lines: dict[str, int], now: datetime
) -> Stage:
    seconds = (_end(step, now) - step.started_at).total_seconds()
    width = min(max(100 * seconds / (whole or 1), LEAST_WIDTH), 100)
    begins = min(100 * (step.started_at - start).total_seconds() / (whole or 1), 100 - width)
    return Stage(
        word=labels.STEP_WORDS[step.name],
        look=labels.STEP_LOOKS[step.state],
        step=step,
        seconds=seconds,
        begins=round(max(begins, 0), 2),
        width=round(width, 2),
        line=lines.get(step.name),
    )


def _ahead(deployment: DeploymentView) -> list[Stage]:
    if deployment.state.is_over:
        return []
    order = list(StepName)
    first = StepName.START if deployment.kind is Kind.ROLLBACK else StepName.CHECKOUT
    after = max([order.index(step.name) + 1 for step in deployment.steps] + [order.index(first)])
    return [Stage(labels.STEP_WORDS[name], labels.STEP_AHEAD) for name in order[after:]]


def _end(step: StepView, now: datetime) -> datetime:
    return step.ended_at or now
