"""Every way Keystone's own code can fail, as one tree.

KeystoneError
├─ RefusedError              carries mistakes: what is wrong, by field
│  ├─ ConfigurationError     Keystone's settings or an app's configuration are invalid
│  ├─ ConflictError          the request does not fit the present state
│  │  ├─ InvalidTransitionError
│  │  └─ NoReleaseError
│  └─ AccessError            the caller lacks the permission
├─ NotFoundError             the named thing does not exist
├─ BackupError               the file is no backup that can be restored
├─ DeploymentError           the app's fault: the deployment ends `failure`
│  ├─ CheckoutError · BuildError · StartError · HealthCheckError
│  │  └─ RepositoryDeniedError
├─ PlatformError             Keystone's or an upstream's fault: the deployment ends `error`
│  ├─ DockerError · GitError · QueueError · StorageError · BacklogError
│  ├─ RouterError
│  │  └─ PortNotServedError
│  └─ GitHubError
│     ├─ GitHubTokenError · GitHubContentError
│     └─ GitHubDeniedError
│        └─ GitHubNotFoundError
├─ CancelledError            a person asked for the deployment to stop
├─ SupersededError           a newer push replaces this one
├─ UnchangedError           a push changes nothing that the app watches: it ends `success`
├─ HandedOverError           the deployment goes back into the queue, to be begun again
├─ RulesChangedError         the apps' push rules have changed: judge the push again
└─ LeaseLostError            another worker holds the app's lease now: stop touching anything

Messages name the thing and what to do about it. They never carry a secret.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

WHOLE_INPUT = "body"  # the name of the whole input in messages, when no single field is wrong


class KeystoneError(Exception):
    """Base class of every error that Keystone expects and can explain."""


@dataclass(frozen=True)
class Mistake:
    """One problem with an input.

    Attributes:
        field: the field with the problem; empty or `WHOLE_INPUT` when it is no single field.
        message: what is wrong, without its location.
        index: the entry of the field: a list's index from 0, or a mapping's key.
        rest: the path inside that entry.
        above: the tables of a file that contain the field, outermost first.
        called: the name for the field in the sentence, when readers know it by another one.
    """

    field: str
    message: str
    index: int | str | None = None
    rest: tuple[int | str, ...] = ()
    above: tuple[str, ...] = ()
    called: str = ""

    @property
    def is_of_field(self) -> bool:
        """Whether the mistake is about one field."""
        return self.field not in {"", WHOLE_INPUT}

    def below(self, *above: str) -> "Mistake":
        """Return the same mistake, located in a table of a file."""
        return replace(self, above=(*above, *self.above))

    def __str__(self) -> str:
        """Format as `field: what is wrong`, the one form that people see."""
        field = self.called or self.field
        own = (field,) if field else ()
        index = () if self.index is None else (self.index,)
        place = ".".join(map(str, (*self.above, *own, *index, *self.rest)))
        return f"{place}: {self.message}" if place else self.message


class RefusedError(KeystoneError):
    """An input or a request is refused.

    Attributes:
        mistakes: the problems; the error's message lists one per line.
    """

    def __init__(self, *mistakes: Mistake | str) -> None:
        """Store the mistakes; a plain string is a mistake about no single field."""
        self.mistakes = tuple(
            Mistake("", each) if isinstance(each, str) else each for each in mistakes
        )
        super().__init__("\n".join(self.problems))

    @property
    def problems(self) -> tuple[str, ...]:
        """One sentence per mistake."""
        return tuple(map(str, self.mistakes))


class ConfigurationError(RefusedError):
    """Settings or an app's configuration are invalid."""


class NotFoundError(KeystoneError):
    """The named thing does not exist."""


class ConflictError(RefusedError):
    """The request does not fit the present state."""


class InvalidTransitionError(ConflictError):
    """A deployment cannot go from its state to the one asked for."""


class NoReleaseError(ConflictError):
    """There is no release to roll back to."""


class AccessError(RefusedError):
    """The caller may not do this."""


class BackupError(KeystoneError):
    """The file is not a backup, is damaged, or does not fit this Keystone's settings."""


class DeploymentError(KeystoneError):
    """The app's fault; the deployment ends `failure` with this message as its reason."""


class CheckoutError(DeploymentError):
    """The commit could not be fetched from the repository as configured."""


class RepositoryDeniedError(CheckoutError):
    """The git server refuses the repository's token, or the token cannot see the repository."""


class BuildError(DeploymentError):
    """The image could not be built from the commit."""


class StartError(DeploymentError):
    """The container could not be started from the image."""


class HealthCheckError(DeploymentError):
    """The new container did not become healthy.

    Attributes:
        last_status: the last HTTP status seen, or None when there was no answer.
    """

    def __init__(self, message: str, *, last_status: int | None = None) -> None:
        self.last_status = last_status
        super().__init__(message)


class PlatformError(KeystoneError):
    """Keystone's or an upstream's fault; the deployment ends `error`."""


class DockerError(PlatformError):
    """A request to the Docker Engine failed."""


class RouterError(PlatformError):
    """A request to the router failed."""


class PortNotServedError(RouterError):
    """The router does not listen on this port: another program held it when the router started."""


class GitError(PlatformError):
    """The git server could not be reached or sent an invalid answer."""


class GitHubError(PlatformError):
    """GitHub's API refused or failed.

    Attributes:
        permanent: whether a retry with the same token cannot succeed.
        retry_after_s: how many seconds GitHub asked us to wait; None when it did not say.
    """

    def __init__(
        self, message: str, *, permanent: bool = False, retry_after_s: float | None = None
    ) -> None:
        self.permanent = permanent
        self.retry_after_s = retry_after_s
        super().__init__(message)


class GitHubDeniedError(GitHubError):
    """The token lacks the permission, or cannot see the resource."""


class GitHubNotFoundError(GitHubDeniedError):
    """The repository does not exist or the token may not see it: GitHub does not say which."""


class GitHubTokenError(GitHubError):
    """GitHub rejects the token: it is wrong, expired or revoked."""


class GitHubContentError(GitHubError):
    """GitHub rejects the content of the request: a retry with the same text cannot succeed."""


class QueueError(PlatformError):
    """Redis could not enqueue or deliver work."""


class StorageError(PlatformError):
    """The database or the data directory cannot be used."""


class BacklogError(PlatformError):
    """Too many deployments of one app are queued already; nothing was recorded."""


class CancelledError(KeystoneError):
    """A person asked for this deployment to stop."""


class SupersededError(KeystoneError):
    """A newer push replaces this deployment."""


class UnchangedError(KeystoneError):
    """A push changes nothing that the app watches: it ends as a success, and nothing is built."""


class HandedOverError(KeystoneError):
    """The deployment goes back into the queue and begins again later.

    Its worker must stop, or a recovery of its app must run first.
    """


class RulesChangedError(KeystoneError):
    """The apps' push rules changed after the push was judged; nothing was recorded.

    Attributes:
        rules: the rules that the push must be judged by as well (`jobs.rules.triggers.Rule`).
    """

    def __init__(self, rules: Sequence[Any]) -> None:
        self.rules = rules
        super().__init__("the apps' push rules have changed meanwhile")


class LeaseLostError(KeystoneError):
    """Another worker holds the app's lease now; this one must not touch anything any more."""
