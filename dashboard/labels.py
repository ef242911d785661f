"""How pages show states, times and names: words, tones, shapes. Pure.

A tone becomes a colour and a shape becomes an icon, so that colour alone never carries the meaning.
"""

from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum

from jobs.reads.views import AppView
from jobs.rules import triggers
from jobs.rules.refs import is_sha
from jobs.rules.triggers import short_ref
from jobs.states import (
    AppState,
    ContainerState,
    DeliveryOutcome,
    DeploymentState,
    DeployOn,
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
    """The meaning of a colour; also the name of its CSS class."""

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
NOT_LOOKED_AT = Look("Not checked yet", Tone.IDLE, Shape.RING)
DELIVERY_LOOKS = {
    DeliveryOutcome.QUEUED: Look("Queued", Tone.GOOD, Shape.CHECK),
    DeliveryOutcome.PONG: Look("Pong", Tone.GOOD, Shape.CHECK),
    DeliveryOutcome.IGNORED: Look("Ignored", Tone.IDLE, Shape.SLASH),
    DeliveryOutcome.DUPLICATE: Look("Duplicate", Tone.IDLE, Shape.COPY),
}
# DESIGN §5: an accepted push is answered 202, every other understood delivery 200.
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


def source_words(app: AppView) -> str:
    """Name what deploys an app: its branch, or its tags."""
    return triggers.source_words(app.branch, app.deploy_on, app.tag_pattern)


def push_words(app: AppView) -> str:
    """Say what to push to deploy an app."""
    if app.deploy_on is not DeployOn.TAGS:
        return f"Push to {app.branch}"
    return f"Push a tag that matches {app.tag_pattern}" if app.tag_pattern else "Push a tag"


def default_words(app: AppView) -> str:
    """Name what is deployed by hand when no ref is given."""
    return short_ref(triggers.default_ref(app.branch, app.deploy_on))


def kind_words(kind: Kind, trigger: Trigger) -> str:
    """Name the kind of a deployment: an update that was requested manually is a redeploy."""
    if kind is Kind.UPDATE and trigger is Trigger.MANUAL:
        return "redeploy"
    if trigger is Trigger.RECOVERY:
        return "recovery"
    return KIND_WORDS[kind]


# Explanations of the unsuccessful final states.
ENDINGS = {
    DeploymentState.FAILURE: "The app failed: its build, its start or its health check.",
    DeploymentState.ERROR: "This was not the app's fault: Keystone, or a service it needs, failed.",
    DeploymentState.CANCELLED: "Somebody stopped it before it was live.",
    DeploymentState.SUPERSEDED: "A newer deployment replaced it before it was live.",
}


def container_look(state: ContainerState | None, reason: str) -> Look:
    """Give the look of a container; a running one with a problem is unhealthy."""
    if state is None:
        return NOT_LOOKED_AT
    return UNHEALTHY if state is ContainerState.RUNNING and reason else CONTAINER_LOOKS[state]


def work_words(state: DeploymentState, step: StepName | None) -> str:
    """Say what an unfinished deployment is doing."""
    if step is not None:
        return STEP_WORDS[step]
    return "waits for its turn" if state is DeploymentState.QUEUED else "begins"


def needs_role(needed: Role, has: Role) -> str:
    """Say why a button is disabled; empty if it is not."""
    if has.includes(needed):
        return ""
    return f"Your role is {has}; this needs {needed}"


# --- Times -----------------------------------------------------------------------------------


def duration(seconds: float | None) -> str:
    """Say how long something took: `0.4 s`, `42 s`, `1 min 12 s`, `2 h 5 min`, `1 d 3 h`.

    `static/times.js` formats running times the same way.
    """
    if seconds is None:
        return "–"  # noqa: RUF001 — a dash, as in any table
    if seconds < 9.95:  # noqa: PLR2004 — more would round to 10.0
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
    """Say how long ago a moment was; from thirty days on, its date. `times.js` does the same."""
    seconds = int((now - moment).total_seconds())
    if seconds < 5:  # noqa: PLR2004 — negative if clocks disagree
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
    """Format a moment to the second, in UTC, for people."""
    return moment.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


def clock(moment: datetime) -> str:
    """Format a moment of the next hours to the minute, in UTC."""
    return moment.astimezone(UTC).strftime("%H:%M UTC")


def waited(moment: datetime, now: datetime) -> str:
    """Give the time since a moment as text."""
    return duration(max((now - moment).total_seconds(), 0))


def machine(moment: datetime) -> str:
    """Format a moment for a `datetime` attribute."""
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def space(count: int) -> str:
    """Give a number of bytes in decimal units: `41 GB`, `850 MB`."""
    gigabytes = count / 1e9
    if gigabytes >= 9.95:  # noqa: PLR2004 — it would round to 10.0
        return f"{gigabytes:,.0f} GB"
    return f"{gigabytes:.1f} GB" if gigabytes >= 1 else f"{count / 1e6:.0f} MB"


# --- Commits ---------------------------------------------------------------------------------


def short_sha(sha: str | None) -> str:
    """Give the abbreviated commit id."""
    return (sha or "")[:SHORT_SHA]


def first_line(message: str) -> str:
    """Give a commit message's subject."""
    return next((line.strip() for line in message.splitlines() if line.strip()), "")


def capital(sentence: str) -> str:
    """Begin a sentence with a capital letter."""
    return sentence[:1].upper() + sentence[1:]


def ref_words(ref: str) -> str:
    """Give the short form of a ref or of a whole commit id."""
    return short_sha(ref) if is_sha(ref) else short_ref(ref)


def commit_url(git_url: str, sha: str) -> str | None:
    """Give the address of a commit's page; None for a repository without web pages."""
    if not git_url.startswith(("https://", "http://")) or not is_sha(sha):
        return None
    return f"{git_url.removesuffix('/').removesuffix('.git')}/commit/{sha}"


def host_of(url: str) -> str:
    """Give an address without its scheme."""
    return url.partition("://")[2] or url
