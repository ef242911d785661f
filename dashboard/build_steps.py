"""The table of an image's build steps: which were cached, and how long the others took."""

from collections.abc import Sequence

from markupsafe import Markup

from dashboard.charts import icon
from dashboard.labels import Look, Shape, Tone, duration
from jobs.reads.views import BuildStepView
from jobs.states import BuildStepState

LOOKS = {
    BuildStepState.RUNNING: Look("running", Tone.BUSY, Shape.SPIN),
    BuildStepState.CACHED: Look("cached", Tone.IDLE, Shape.COPY),
    BuildStepState.DONE: Look("done", Tone.GOOD, Shape.CHECK),
    BuildStepState.FAILURE: Look("failed", Tone.BAD, Shape.CROSS),
}
# The builder's own steps have this prefix: reading the Dockerfile, looking up the base image.
INTERNAL = "[internal]"
ROW = Markup(
    '<li class="{}">{}<a href="#L{}" title="{}">{}</a><span class="unseen">, {}</span>'
    '<span class="num">{}</span></li>'
)


def draw_build(steps: Sequence[BuildStepView]) -> Markup:
    """Give the table's heading and rows; empty if there are no steps to show."""
    shown = [step for step in steps if not step.name.startswith(INTERNAL)]
    if not shown:
        return Markup()
    return Markup('<h2>Build<span class="num">{}</span></h2><ol>{}</ol>').format(
        summary(shown), Markup().join(_row(step) for step in shown)
    )


def summary(steps: Sequence[BuildStepView]) -> str:
    """Say how many of the steps were cached."""
    cached = sum(step.state is BuildStepState.CACHED for step in steps)
    return f"{cached} of {len(steps)} cached"


def _row(step: BuildStepView) -> Markup:
    look = LOOKS[step.state]
    took = duration(step.seconds) if step.state is BuildStepState.DONE else look.word
    return ROW.format(look.tone, icon(look.shape), step.line, step.name, step.name, look.word, took)
