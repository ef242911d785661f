"""A container's last output, for the log of the deployment that failed because of it."""

from collections.abc import Sequence

from jobs.deployment.work import Work
from jobs.rules.log_lines import shown
from jobs.rules.text import one_line
from jobs.states import StepName
from jobs.storage.deployment_log import DeploymentLog

LINES_SHOWN = 50
LONGEST_QUOTE = 200  # characters


def show_output(work: Work, step: StepName, container_id: str) -> str:
    """Write a container's last lines to the log, and return the last one as plain text."""
    return write_output(work.log, step, work.tools.engine.output(container_id, tail=LINES_SHOWN))


def write_output(log: DeploymentLog, step: StepName, lines: Sequence[str]) -> str:
    """Write a container's last lines to a log; return the last one as plain text, masked.

    Returns:
        Empty when the container wrote nothing.
    """
    log.write(step, f"the container's last {len(lines)} lines:" if lines else "it wrote nothing")
    for line in lines:
        log.write(step, f"  {shown(line, log.redact)}")
    # Mask before cutting: a cut secret would not be recognised.
    masked = (one_line(log.redact(line)) for line in reversed(lines))
    return next(filter(None, masked), "")[:LONGEST_QUOTE]
