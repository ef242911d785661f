"""Every way Keystone's own code can fail, as one tree.

KeystoneError
├─ RefusedError              carries mistakes: what is wrong, by field
│  ├─ ConfigurationError     settings, or what somebody asked an app to be
│  ├─ ConflictError          the request does not fit the state of things
│  │  ├─ InvalidTransitionError
│  │  └─ NoReleaseError
│  └─ AccessError            who is asking may not do that
├─ NotFoundError             the named thing does not exist
├─ BackupError               the file is no backup that can be restored
├─ DeploymentError           the app's fault: the deployment ends `failure`
│  ├─ CheckoutError · BuildError · StartError · HealthCheckError
│  │  └─ RepositoryDeniedError
├─ PlatformError             ours or upstream: the deployment ends `error`
│  ├─ DockerError · GitError · QueueError · StorageError · BacklogError
│  ├─ RouterError
│  │  └─ PortNotServedError
│  └─ GitHubError
│     ├─ GitHubTokenError · GitHubContentError
│     └─ GitHubDeniedError
│        └─ GitHubNotFoundError
├─ CancelledError            a person asked for the deployment to stop
├─ SupersededError           a newer push takes this one's place
├─ HandedOverError           the worker is to stop: another one begins the deployment again
├─ RulesChangedError         what a push is judged by has changed: judge it again
└─ LeaseLostError            another worker owns the app now: stop touching anything

Messages name the thing and what to do about it. They never carry a secret.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

WHOLE_INPUT = "body"  # what a sentence calls the input itself, where no field of it is wrong


class KeystoneError(Exception):
    """Something Keystone understands went wrong."""


@dataclass(frozen=True)
class Mistake:
    """One thing that is wrong with what somebody gave.

    Attributes:
        field: the field it is about; empty, or `WHOLE_INPUT`: no single one.
        message: what is wrong, without the place.
        index: which entry of the field: a list's index from 0, a mapping's key.
        rest: where inside that entry.
        above: the tables of a file that hold the field, from the outermost.
        called: what the sentence calls the field, where its reader knows another name for it.
    """

    field: str
    message: str
    index: int | str | None = None
    rest: tuple[int | str, ...] = ()
    above: tuple[str, ...] = ()
    called: str = ""

    @property
    def is_of_field(self) -> bool:
        """Whether it is about one field."""
        return self.field not in {"", WHOLE_INPUT}

    def below(self, *above: str) -> "Mistake":
        """Give the same mistake, in a table of a file."""
        return replace(self, above=(*above, *self.above))

    def __str__(self) -> str:
        """Say it as `field: what is wrong`, the one way that people read it."""
        field = self.called or self.field
        own = (field,) if field else ()
        index = () if self.index is None else (self.index,)
        place = ".".join(map(str, (*self.above, *own, *index, *self.rest)))
        return f"{place}: {self.message}" if place else self.message


class RefusedError(KeystoneError):
    """What somebody gave or asked for cannot be taken.

    Attributes:
        mistakes: what is wrong; the message says one on each line.
    """

    def __init__(self, *mistakes: Mistake | str) -> None:
        """Take the mistakes; a text is one that is about no single field."""
        self.mistakes = tuple(
            Mistake("", each) if isinstance(each, str) else each for each in mistakes
        )
        super().__init__("\n".join(self.problems))

    @property
    def problems(self) -> tuple[str, ...]:
        """One sentence per mistake."""
        return tuple(map(str, self.mistakes))


class ConfigurationError(RefusedError):
    """Settings or an app's configuration cannot be used as given."""


class NotFoundError(KeystoneError):
    """The named thing does not exist."""


class ConflictError(RefusedError):
    """The request does not fit the present state."""


class InvalidTransitionError(ConflictError):
    """A deployment cannot go from its state to the one asked for."""


class NoReleaseError(ConflictError):
    """There is no release to roll back to."""


class AccessError(RefusedError):
    """Whoever is asking may not do this."""


class BackupError(KeystoneError):
    """The file is no backup, a damaged one, or one that does not fit here."""


class DeploymentError(KeystoneError):
    """The app's fault; the deployment ends `failure` with this message as its reason."""


class CheckoutError(DeploymentError):
    """The commit could not be had from the repository as configured."""


class RepositoryDeniedError(CheckoutError):
    """The git server refuses the repository's token, or has no such thing for it to see."""


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
    """Ours or an upstream's fault; the deployment ends `error`."""


class DockerError(PlatformError):
    """The Docker Engine did not do what was asked."""


class RouterError(PlatformError):
    """The router did not do what was asked."""


class PortNotServedError(RouterError):
    """The router was started without this port: another program had it."""


class GitError(PlatformError):
    """The git server could not be reached or answered nonsense."""


class GitHubError(PlatformError):
    """GitHub's API refused or failed.

    Attributes:
        permanent: asking again with the same token cannot help.
        retry_after_s: how long GitHub asked us to wait, when it did.
    """

    def __init__(
        self, message: str, *, permanent: bool = False, retry_after_s: float | None = None
    ) -> None:
        self.permanent = permanent
        self.retry_after_s = retry_after_s
        super().__init__(message)


class GitHubDeniedError(GitHubError):
    """The token may not do that, or there is no such thing for it to see."""


class GitHubNotFoundError(GitHubDeniedError):
    """There is no such repository, or none that the token may see: GitHub does not say which."""


class GitHubTokenError(GitHubError):
    """GitHub does not take the token: it is wrong, expired or revoked."""


class GitHubContentError(GitHubError):
    """GitHub does not take what it was sent: the same words will never do."""


class QueueError(PlatformError):
    """Redis could not take or give work."""


class StorageError(PlatformError):
    """The database or the data directory cannot be used."""


class BacklogError(PlatformError):
    """More deployments wait for one app than are ever of use; nothing was written down."""


class CancelledError(KeystoneError):
    """A person asked for this deployment to stop."""


class SupersededError(KeystoneError):
    """A newer push takes this deployment's place."""


class HandedOverError(KeystoneError):
    """The worker was told to stop; another one begins this deployment again."""


class RulesChangedError(KeystoneError):
    """What apps ask of a push is not what it was judged by; nothing was written down.

    Attributes:
        rules: those that it has to be judged by as well (`jobs.rules.triggers.Rule`).
    """

    def __init__(self, rules: Sequence[Any]) -> None:
        self.rules = rules
        super().__init__("what the apps ask of a push has changed meanwhile")


class LeaseLostError(KeystoneError):
    """Another worker owns the app now; this one must not touch anything more."""
