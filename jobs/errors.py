"""Every way Keystone's own code can fail, as one tree.

KeystoneError
├─ ConfigurationError        settings, or what somebody asked an app to be
├─ NotFoundError             the named thing does not exist
├─ ConflictError             the request does not fit the state of things
│  ├─ InvalidTransitionError
│  └─ NoReleaseError
├─ AccessError               who is asking may not do that
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
from typing import Any


class KeystoneError(Exception):
    """Something Keystone understands went wrong."""


class ConfigurationError(KeystoneError):
    """Settings or an app's configuration cannot be used as given.

    Attributes:
        problems: one sentence per mistake; the message joins them.
    """

    def __init__(self, *problems: str) -> None:
        self.problems = problems
        super().__init__("\n".join(problems))


class NotFoundError(KeystoneError):
    """The named thing does not exist."""


class ConflictError(KeystoneError):
    """The request does not fit the present state."""


class InvalidTransitionError(ConflictError):
    """A deployment cannot go from its state to the one asked for."""


class NoReleaseError(ConflictError):
    """There is no release to roll back to."""


class AccessError(KeystoneError):
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
