"""How states, times and names are said on the pages: words, tones, shapes. Pure.

A tone becomes a colour and a shape an icon, so that nothing is told by colour alone.
"""

from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum

from jobs.rules.refs import is_sha
from jobs.rules.triggers import short_ref
from jobs.states import (
    AppState,
    ContainerState,
    DeliveryOutcome,
    DeploymentState,
    GitHubState,
    Kind,
    Role,
    StepName,
    StepState,
    Trigger,
)

MINUTE = 60
HOUR = 60 * MINUTE
DAY = 24 * HOUR
SHORT_SHA = 7


class Tone(StrEnum):
    """What a colour means; also the CSS class that gives it."""

    GOOD = "good"
    BAD = "bad"
    WARN = "warn"
    BUSY = "busy"
    IDLE = "idle"


class Shape(StrEnum):
    """The icons; `charts` draws them."""

    CHECK = "check"
    CROSS = "cross"
    ALERT = "alert"
    SPIN = "spin"
    CLOCK = "clock"
    SLASH = "slash"
    SKIP = "skip"
    STOP = "stop"
    RING = "ring"
    COPY = "copy"
    PAUSE = "pause"


@dataclass(frozen=True)
class Look:
    """How a state is shown."""

    word: str
    tone: Tone
    shape: Shape


DEPLOYMENT_LOOKS = {
    DeploymentState.QUEUED: Look("Queued", Tone.IDLE, Shape.CLOCK),
    DeploymentState.RUNNING: Look("Running", Tone.BUSY, Shape.SPIN),
    DeploymentState.SUCCESS: Look("Success", Tone.GOOD, Shape.CHECK),
    DeploymentState.FAILURE: Look("Failure", Tone.BAD, Shape.CROSS),
    DeploymentState.ERROR: Look("Error", Tone.WARN, Shape.ALERT),
    DeploymentState.CANCELLED: Look("Cancelled", Tone.IDLE, Shape.SLASH),
    DeploymentState.SUPERSEDED: Look("Superseded", Tone.IDLE, Shape.SKIP),
}
STEP_LOOKS = {
    StepState.RUNNING: Look("running", Tone.BUSY, Shape.SPIN),
    StepState.SUCCESS: Look("done", Tone.GOOD, Shape.CHECK),
    StepState.FAILURE: Look("failed", Tone.BAD, Shape.CROSS),
    StepState.ERROR: Look("error", Tone.WARN, Shape.ALERT),
    StepState.CANCELLED: Look("cancelled", Tone.IDLE, Shape.SLASH),
    StepState.SUPERSEDED: Look("superseded", Tone.IDLE, Shape.SKIP),
    StepState.SKIPPED: Look("skipped", Tone.IDLE, Shape.SKIP),
}
STEP_AHEAD = Look("not begun", Tone.IDLE, Shape.RING)
APP_LOOKS = {
    AppState.NEW: Look("New", Tone.IDLE, Shape.RING),
    AppState.DEPLOYING: Look("Deploying", Tone.BUSY, Shape.SPIN),
    AppState.RUNNING: Look("Running", Tone.GOOD, Shape.CHECK),
    AppState.STOPPED: Look("Stopped", Tone.WARN, Shape.STOP),
    AppState.FAILING: Look("Failing", Tone.BAD, Shape.CROSS),
}
CONTAINER_LOOKS = {
    ContainerState.RUNNING: Look("Running", Tone.GOOD, Shape.CHECK),
    ContainerState.RESTARTING: Look("Restarting", Tone.BAD, Shape.CROSS),
    ContainerState.EXITED: Look("Exited", Tone.WARN, Shape.STOP),
    ContainerState.MISSING: Look("Missing", Tone.WARN, Shape.ALERT),
}
LIVE = Look("Live", Tone.GOOD, Shape.CHECK)
UNHEALTHY = Look("Unhealthy", Tone.BAD, Shape.CROSS)
NOT_LOOKED_AT = Look("Not looked at yet", Tone.IDLE, Shape.RING)
DELIVERY_LOOKS = {
    DeliveryOutcome.QUEUED: Look("Queued", Tone.GOOD, Shape.CHECK),
    DeliveryOutcome.PONG: Look("Pong", Tone.GOOD, Shape.CHECK),
    DeliveryOutcome.IGNORED: Look("Ignored", Tone.IDLE, Shape.SLASH),
    DeliveryOutcome.DUPLICATE: Look("Duplicate", Tone.IDLE, Shape.COPY),
}
# DESIGN §5: a push that was taken is 202, everything else that was understood 200.
DELIVERY_ANSWERS = {
    DeliveryOutcome.QUEUED: 202,
    DeliveryOutcome.PONG: 200,
    DeliveryOutcome.IGNORED: 200,
    DeliveryOutcome.DUPLICATE: 200,
}
GITHUB_LOOKS = {
    GitHubState.PENDING: Look("pending", Tone.BUSY, Shape.CLOCK),
    GitHubState.SUCCESS: Look("success", Tone.GOOD, Shape.CHECK),
    GitHubState.FAILURE: Look("failure", Tone.BAD, Shape.CROSS),
    GitHubState.ERROR: Look("error", Tone.WARN, Shape.ALERT),
}
STEP_WORDS = {
    StepName.CHECKOUT: "Checkout",
    StepName.BUILD: "Build",
    StepName.RELEASE: "Release",
    StepName.START: "Start",
    StepName.HEALTH_CHECK: "Health check",
    StepName.SWITCH: "Switch",
    StepName.RETIRE: "Retire",
}
TRIGGER_WORDS = {
    Trigger.PUSH: "push",
    Trigger.MANUAL: "manual",
    Trigger.ROLLBACK: "rollback",
    Trigger.CATCH_UP: "catch-up",
    Trigger.RECOVERY: "recovery",
}
KIND_WORDS = {
    Kind.INITIAL: "first deployment",
    Kind.UPDATE: "update",
    Kind.ROLLBACK: "rollback",
}


def kind_words(kind: Kind, trigger: Trigger) -> str:
    """Say what a deployment does: an update that a person asked for is a redeploy."""
    if kind is Kind.UPDATE and trigger is Trigger.MANUAL:
        return "redeploy"
    if trigger is Trigger.RECOVERY:
        return "recovery"
    return KIND_WORDS[kind]


# What an end without success means, for those who do not know the word.
ENDINGS = {
    DeploymentState.FAILURE: "The app did not pass: its build, its start or its health check.",
    DeploymentState.ERROR: "This was not the app's fault: Keystone, or what it stands on, failed.",
    DeploymentState.CANCELLED: "Somebody stopped it before it was live.",
    DeploymentState.SUPERSEDED: "Something newer took its place before it was live.",
}


def container_look(state: ContainerState | None, reason: str) -> Look:
    """Say how a container is shown; one that runs with something wrong is unhealthy."""
    if state is None:
        return NOT_LOOKED_AT
    return UNHEALTHY if state is ContainerState.RUNNING and reason else CONTAINER_LOOKS[state]


def work_words(state: DeploymentState, step: StepName | None) -> str:
    """Say what is being done for a deployment that is not over."""
    if step is not None:
        return STEP_WORDS[step]
    return "waits for its turn" if state is DeploymentState.QUEUED else "begins"


def needs_role(needed: Role, has: Role) -> str:
    """Say why a button is disabled, or give an empty text when it is not."""
    if has.includes(needed):
        return ""
    return f"Your role is {has}; this needs {needed}"


# --- Times -----------------------------------------------------------------------------------


def duration(seconds: float | None) -> str:
    """Say how long something took: `0.4 s`, `42 s`, `1 min 12 s`, `2 h 5 min`, `1 d 3 h`.

    `static/times.js` says running times the same way.
    """
    if seconds is None:
        return "–"  # noqa: RUF001 — a dash, as in any table
    if seconds < 9.95:  # noqa: PLR2004 — what would round to 10.0
        return f"{max(seconds, 0):.1f} s"
    whole = round(seconds)
    if whole < MINUTE:
        return f"{whole} s"
    if whole < HOUR:
        return f"{whole // MINUTE} min {whole % MINUTE} s"
    if whole < DAY:
        return f"{whole // HOUR} h {whole % HOUR // MINUTE} min"
    return f"{whole // DAY} d {whole % DAY // HOUR} h"


def age(moment: datetime, now: datetime) -> str:
    """Say how long ago something was; past thirty days, on which day. The same in `times.js`."""
    seconds = int((now - moment).total_seconds())
    if seconds < 5:  # noqa: PLR2004 — and clocks that disagree
        return "just now"
    if seconds < MINUTE:
        return f"{seconds} s ago"
    if seconds < HOUR:
        return f"{seconds // MINUTE} min ago"
    if seconds < DAY:
        return f"{seconds // HOUR} h ago"
    if seconds < 30 * DAY:
        return f"{seconds // DAY} d ago"
    return moment.astimezone(UTC).date().isoformat()


def exact(moment: datetime) -> str:
    """Give the moment to the second, in UTC, for people."""
    return moment.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


def waited(moment: datetime, now: datetime) -> str:
    """Say for how long something has waited."""
    return duration(max((now - moment).total_seconds(), 0))


def machine(moment: datetime) -> str:
    """Give the moment for a `datetime` attribute."""
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def space(count: int) -> str:
    """Say a number of bytes as disks are sold: `41 GB`, `850 MB`."""
    gigabytes = count / 1e9
    if gigabytes >= 9.95:  # noqa: PLR2004 — what would round to 10.0
        return f"{gigabytes:,.0f} GB"
    return f"{gigabytes:.1f} GB" if gigabytes >= 1 else f"{count / 1e6:.0f} MB"


# --- Commits ---------------------------------------------------------------------------------


def short_sha(sha: str | None) -> str:
    """Give the first characters of a commit's id, the way people write it."""
    return (sha or "")[:SHORT_SHA]


def first_line(message: str) -> str:
    """Give a commit message's subject."""
    return next((line.strip() for line in message.splitlines() if line.strip()), "")


def capital(sentence: str) -> str:
    """Begin a sentence with a capital letter."""
    return sentence[:1].upper() + sentence[1:]


def ref_words(ref: str) -> str:
    """Give a ref the way people write it; a whole commit id is shortened."""
    return short_sha(ref) if is_sha(ref) else short_ref(ref)


def commit_url(git_url: str, sha: str) -> str | None:
    """Say where a commit can be looked at, or None for a repository that has no pages."""
    if not git_url.startswith(("https://", "http://")) or not is_sha(sha):
        return None
    return f"{git_url.removesuffix('/').removesuffix('.git')}/commit/{sha}"


def host_of(url: str) -> str:
    """Give an address without its scheme, as it is said."""
    return url.partition("://")[2] or url
