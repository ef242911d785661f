"""Why a deployment ended, in one sentence that is safe to show and short enough to read. Pure.

A reason may quote what came from outside: a step of a Dockerfile with its build arguments filled
in, a program's own words. Its secrets are masked before it is cut: half a secret would not be
recognised.
"""

from jobs.rules.redaction import Redactor
from jobs.rules.text import one_line
from jobs.states import DeploymentState

# Characters of what a reason quotes, before anything in it is masked: far more than a secret has,
# and than a reason shows of either end.
LONGEST_QUOTED = 64 * 1024
LEFT_OUT = " … "
LONGEST_REASON = 640  # characters
BEGINNING = 240  # of them kept from a longer one; the rest is its end, where the cause stands


def quoted(text: str) -> str:
    """Give a text from outside on one line, bounded, and with nothing inside its lines changed.

    Its secrets are masked later, so they have to stay as they are.
    """
    line = " ".join(filter(None, map(str.strip, text.splitlines())))
    if len(line) <= LONGEST_QUOTED:
        return line
    # Not the end, since that is shown: a secret that is cut would be shown in part.
    half = (LONGEST_QUOTED - len(LEFT_OUT)) // 2
    return line[:half] + LEFT_OUT + line[-half:]


def shown_reason(reason: str, redact: Redactor) -> str:
    """Give a reason as it may be shown to anybody."""
    return shortened(one_line(redact(reason)))


def shortened(reason: str) -> str:
    """Give a reason at a length that people read; its secrets must be masked by now."""
    if len(reason) <= LONGEST_REASON:
        return reason
    end = LONGEST_REASON - BEGINNING - len(LEFT_OUT)
    return f"{reason[:BEGINNING].rstrip()}{LEFT_OUT}{reason[-end:].lstrip()}"


def failure_words(number: int, state: DeploymentState, reason: str) -> str:
    """Say what is wrong with an app's last deployment."""
    return reason if state is DeploymentState.SUCCESS else f"deployment #{number} failed: {reason}"
