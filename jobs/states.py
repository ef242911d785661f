"""The vocabulary of deployments and the one table of their transitions. Pure."""

import unicodedata
from collections.abc import Mapping
from enum import StrEnum
from typing import assert_never

from jobs.errors import InvalidTransitionError


class DeploymentState(StrEnum):
    """The state of a deployment in its life cycle (DESIGN §4)."""

    QUEUED = "queued"
    RUNNING = "running"
    SUCCESS = "success"
    FAILURE = "failure"  # the app's fault: its Dockerfile, its start, its health
    ERROR = "error"  # Keystone's or the platform's fault: Docker, git host, disk
    CANCELLED = "cancelled"
    SUPERSEDED = "superseded"

    @property
    def is_over(self) -> bool:
        """Whether the deployment has ended."""
        return self not in {DeploymentState.QUEUED, DeploymentState.RUNNING}


TRANSITIONS: dict[DeploymentState, frozenset[DeploymentState]] = {
    DeploymentState.QUEUED: frozenset(
        {
            DeploymentState.RUNNING,
            DeploymentState.SUPERSEDED,
            DeploymentState.CANCELLED,
            DeploymentState.ERROR,
        }
    ),
    # To `queued` only when its worker died, must stop or gives way to a recovery; to `superseded`
    # only for a newer push. Both happen before anything irreversible was done.
    DeploymentState.RUNNING: frozenset(
        {
            DeploymentState.SUCCESS,
            DeploymentState.FAILURE,
            DeploymentState.ERROR,
            DeploymentState.CANCELLED,
            DeploymentState.SUPERSEDED,
            DeploymentState.QUEUED,
        }
    ),
    # A withdrawn release: its container did not stay up during its first minute.
    DeploymentState.SUCCESS: frozenset({DeploymentState.FAILURE}),
    DeploymentState.FAILURE: frozenset(),
    DeploymentState.ERROR: frozenset(),
    DeploymentState.CANCELLED: frozenset(),
    DeploymentState.SUPERSEDED: frozenset(),
}


class ActorKind(StrEnum):
    """Who can make a change."""

    USER = "user"
    TOKEN = "token"  # noqa: S105
    WEBHOOK = "webhook"
    CLI = "cli"
    KEYSTONE = "keystone"
    STRANGER = "stranger"


class StepName(StrEnum):
    """The stages of a deployment, in order."""

    CHECKOUT = "checkout"
    BUILD = "build"
    RELEASE = "release"
    START = "start"
    HEALTH_CHECK = "health_check"
    SWITCH = "switch"
    RETIRE = "retire"


class StepState(StrEnum):
    """The state of one step."""

    RUNNING = "running"
    SUCCESS = "success"
    FAILURE = "failure"
    ERROR = "error"
    CANCELLED = "cancelled"
    SUPERSEDED = "superseded"
    SKIPPED = "skipped"  # nothing to do: the image existed already


class Trigger(StrEnum):
    """What started a deployment."""

    PUSH = "push"
    MANUAL = "manual"
    ROLLBACK = "rollback"
    CATCH_UP = "catch_up"
    RECOVERY = "recovery"  # the previous release serves again: the new one did not stay up

    @property
    def lane(self) -> "Lane":
        """Which workers may run a deployment that was started so."""
        return Lane.QUICK if self in {Trigger.ROLLBACK, Trigger.RECOVERY} else Lane.BUILD


class Lane(StrEnum):
    """The two queues of deployments: short ones do not wait behind builds."""

    BUILD = "build"  # for most workers
    QUICK = "quick"  # starts a release that exists: for every worker, and one takes nothing else


EVERY_LANE = frozenset(Lane)


# The triggers that stand for a push to GitHub, whether its delivery arrived or was missed.
PUSHES = frozenset({Trigger.PUSH, Trigger.CATCH_UP})


class Kind(StrEnum):
    """What a deployment does to the app."""

    INITIAL = "initial"
    UPDATE = "update"
    ROLLBACK = "rollback"


class DeployOn(StrEnum):
    """Which pushes deploy an app."""

    BRANCH = "branch"  # those of its branch, and of tags that match its pattern
    TAGS = "tags"


class OnNewPush(StrEnum):
    """What happens to a running deployment when a newer push arrives."""

    WAIT = "wait"
    REPLACE = "replace"


class Health(StrEnum):
    """How a new container is checked before it gets traffic."""

    HTTP = "http"  # it answers a GET
    TCP = "tcp"  # it accepts connections: a pre-fork server does so before its workers can start
    NONE = "none"  # it keeps running


class Capabilities(StrEnum):
    """Which Linux capabilities a container keeps."""

    DEFAULT = "default"  # the few needed by images that start as root and then change their user
    NONE = "none"


class Restart(StrEnum):
    """When the engine restarts a live container."""

    ALWAYS = "always"
    ON_FAILURE = "on-failure"
    NEVER = "no"


class AppState(StrEnum):
    """The overall state of an app."""

    NEW = "new"
    DEPLOYING = "deploying"
    RUNNING = "running"
    STOPPED = "stopped"
    FAILING = "failing"


class ContainerState(StrEnum):
    """The state of a live container, as Docker reports it."""

    RUNNING = "running"
    RESTARTING = "restarting"
    EXITED = "exited"
    MISSING = "missing"


class Refusal(StrEnum):
    """Why a POST to the webhook was refused."""

    MISSING_SIGNATURE = "missing_signature"
    MALFORMED_SIGNATURE = "malformed_signature"
    WRONG_SIGNATURE = "wrong_signature"
    UNKNOWN_REPOSITORY = "unknown_repository"  # and there is no secret to verify it with
    WRONG_TYPE = "wrong_type"
    INVALID_PAYLOAD = "invalid_payload"  # signed, but unusable
    TOO_LARGE = "too_large"
    TOO_SLOW = "too_slow"
    CUT_SHORT = "cut_short"  # the connection ended before the body did
    BUSY = "busy"


REFUSAL_WORDS: Mapping[Refusal, str] = {
    Refusal.MISSING_SIGNATURE: "without a signature: the webhook has no secret",
    Refusal.MALFORMED_SIGNATURE: "with something that is no signature",
    Refusal.WRONG_SIGNATURE: "signed with another secret",
    Refusal.UNKNOWN_REPOSITORY: "of a repository that no app deploys",
    Refusal.WRONG_TYPE: "with a content type other than JSON or a form, or compressed",
    Refusal.INVALID_PAYLOAD: "signed, but the payload cannot be used",
    Refusal.TOO_LARGE: "too large",
    Refusal.TOO_SLOW: "too slow: it did not arrive within 8 s",
    Refusal.CUT_SHORT: "cut short: the connection ended before the body did",
    Refusal.BUSY: "while Keystone was busy or could not write",
}


class DeliveryOutcome(StrEnum):
    """What Keystone did with a delivery."""

    QUEUED = "queued"
    PONG = "pong"
    IGNORED = "ignored"
    DUPLICATE = "duplicate"


class IdentitySource(StrEnum):
    """The source of a repository's GitHub id."""

    GITHUB = "github"  # its API
    OPERATOR = "operator"


class CatchUpWay(StrEnum):
    """How Keystone finds out whether it missed a push."""

    DELIVERIES = "deliveries"  # from GitHub's list of failed deliveries
    BRANCH_HEAD = "branch_head"  # by comparing the branch's head with the commits known here


class Role(StrEnum):
    """What a user or a token may do; each includes the ones before it."""

    VIEWER = "viewer"
    DEPLOYER = "deployer"
    ADMIN = "admin"

    def includes(self, needed: "Role") -> bool:
        """Whether this role grants everything that the needed role does."""
        ranks = list(Role)
        return ranks.index(self) >= ranks.index(needed)


class TokenState(StrEnum):
    """Whether an API token is still valid."""

    ACTIVE = "active"
    EXPIRED = "expired"
    REVOKED = "revoked"


class BuildStepState(StrEnum):
    """The state of one step of an image's build."""

    RUNNING = "running"
    CACHED = "cached"
    DONE = "done"
    FAILURE = "failure"


class GitHubState(StrEnum):
    """The states a commit status can have on GitHub."""

    PENDING = "pending"
    SUCCESS = "success"
    FAILURE = "failure"
    ERROR = "error"


def ensure_transition(current: DeploymentState, wanted: DeploymentState) -> None:
    """Raise unless a deployment may go from one state to the other.

    Raises:
        InvalidTransitionError: the table does not allow that transition.
    """
    if wanted not in TRANSITIONS[current]:
        raise InvalidTransitionError(f"a {current} deployment cannot become {wanted}")


def github_state(state: DeploymentState) -> GitHubState:
    """Return the commit status that stands for a deployment's state on GitHub.

    Source: https://docs.github.com/en/rest/commits/statuses (read 2026-11-23).
    """
    match state:
        case DeploymentState.QUEUED | DeploymentState.RUNNING:
            return GitHubState.PENDING
        case DeploymentState.SUCCESS:
            return GitHubState.SUCCESS
        case DeploymentState.FAILURE:
            return GitHubState.FAILURE
        case DeploymentState.ERROR | DeploymentState.CANCELLED | DeploymentState.SUPERSEDED:
            return GitHubState.ERROR
        case _:  # pragma: no cover
            assert_never(state)


GITHUB_DESCRIPTION_LIMIT = 140
# GitHub answers 422 to any character above this one, such as an emoji.
HIGHEST_ON_GITHUB = "\uffff"
# They only choose how the preceding character is drawn, and that one may have been removed.
VARIATION_SELECTORS = range(0xFE00, 0xFE10)
LONGEST_QUOTED = 1000  # characters of a reason that are read at most


def github_description(number: int, state: DeploymentState, reason: str) -> str:
    """Describe a deployment and its state in at most 140 characters.

    Keeps only visible characters that GitHub accepts, since a reason may quote any text.
    """
    told = " ".join("".join(map(_on_github, reason[:LONGEST_QUOTED])).split())
    flat = f"Deployment #{number}: {told}" if told else f"Deployment #{number} is {state}"
    if len(flat) <= GITHUB_DESCRIPTION_LIMIT:
        return flat
    return flat[: GITHUB_DESCRIPTION_LIMIT - 1] + "…"


def bare_description(number: int, state: GitHubState) -> str:
    """Describe a deployment and its state without any text from outside Keystone."""
    return f"Deployment #{number}: {state}"


def _on_github(character: str) -> str:
    """Return what to send to GitHub for a character: itself, a space or nothing."""
    kind = unicodedata.category(character)
    if kind == "Cc":
        return " "
    # Lone surrogates, direction marks, and zero-width or unassigned characters.
    is_invisible = kind.startswith("C") or ord(character) in VARIATION_SELECTORS
    return "" if is_invisible or character > HIGHEST_ON_GITHUB else character


OPEN_STATES = (DeploymentState.QUEUED, DeploymentState.RUNNING)
FAILED_STATES = (DeploymentState.FAILURE, DeploymentState.ERROR)
