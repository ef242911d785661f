"""The reason why a deployment ended: one sentence, safe to show and short enough to read. Pure.

A reason may quote outside text: a Dockerfile step with its build arguments filled in, or a
program's message. Secrets are masked before the reason is cut, because a secret that is cut would
not be recognised.
"""

from jobs.rules.redaction import Redactor
from jobs.rules.text import one_line
from jobs.states import DeploymentState

# Characters of quoted text, before its secrets are masked. Far longer than any secret, and than the
# parts of either end that a reason shows.
LONGEST_QUOTED = 64 * 1024
LEFT_OUT = " … "
LONGEST_REASON = 640  # characters
BEGINNING = 240  # characters kept of the beginning; the rest are of the end


def quoted(text: str) -> str:
    """Join an outside text into one line and bound it; leave the text of its lines unchanged.

    Its secrets are masked later, so they must stay recognisable.
    """
    line = " ".join(filter(None, map(str.strip, text.splitlines())))
    if len(line) <= LONGEST_QUOTED:
        return line
    # Cut the middle. The end is shown, so a secret cut there would be shown in part.
    half = (LONGEST_QUOTED - len(LEFT_OUT)) // 2
    return line[:half] + LEFT_OUT + line[-half:]


def shown_reason(reason: str, redact: Redactor) -> str:
    """Mask, join and shorten a reason, so that anybody may see it."""
    return shortened(one_line(redact(reason)))


def shortened(reason: str) -> str:
    """Shorten a reason to a readable length; its secrets must already be masked."""
    if len(reason) <= LONGEST_REASON:
        return reason
    end = LONGEST_REASON - BEGINNING - len(LEFT_OUT)
    return f"{reason[:BEGINNING].rstrip()}{LEFT_OUT}{reason[-end:].lstrip()}"


def failure_words(number: int, state: DeploymentState, reason: str) -> str:
    """Describe the problem with an app's last deployment."""
    return reason if state is DeploymentState.SUCCESS else f"deployment #{number} failed: {reason}"
