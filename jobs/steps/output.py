"""A container's last output, for the log of the deployment that failed because of it."""

from collections.abc import Sequence
from dataclasses import dataclass

from jobs.deployment.work import Work
from jobs.rules.cause_line import cause_of
from jobs.rules.container_values import OutputLine
from jobs.rules.log_lines import shown
from jobs.rules.redaction import Redactor
from jobs.rules.text import one_line
from jobs.states import StepName
from jobs.storage.deployment_log import DeploymentLog

LINES_SHOWN = 50
LONGEST_QUOTE = 200  # characters


@dataclass(frozen=True)
class Output:
    """A container's last lines, and the one that says why it failed.

    Attributes:
        cause: safe to show: masked, cleaned and shortened; empty if the container wrote nothing.
    """

    lines: Sequence[OutputLine]
    cause: str

    @property
    def told(self) -> str:
        """The end of a sentence that quotes the cause; empty if there is none."""
        return f"; it wrote: {self.cause}" if self.cause else ""


def show_output(work: Work, step: StepName, container_id: str) -> Output:
    """Write a container's last lines to the log, and return them."""
    return write_output(work.log, step, work.tools.engine.output(container_id, tail=LINES_SHOWN))


def write_output(log: DeploymentLog, step: StepName, lines: Sequence[OutputLine]) -> Output:
    """Write a container's last lines to a log, in the order in which the engine received them."""
    log.write(step, f"the container's last {len(lines)} lines:" if lines else "it wrote nothing")
    for line in lines:
        log.write(step, f"  {shown(line.text, log.redact)}")
    return Output(lines, quoted(cause_of(lines), log.redact))


def quoted(text: str, redact: Redactor) -> str:
    """Mask, clean and shorten a line that an app wrote."""
    # Mask before cutting: a cut secret would not be recognised.
    return one_line(redact(text))[:LONGEST_QUOTE]
