"""One check of one repository for missed pushes: its tools, and what is known when it begins."""

from collections.abc import Callable
from dataclasses import dataclass

from pydantic import SecretStr
from sqlmodel import Session

from jobs.adapters.ports import Forge, Source
from jobs.processes.runtime import Runtime
from jobs.reads.apps import webhook_url
from jobs.reads.secrets import api_token, git_token, repository_token
from jobs.records.catch_up import Turn
from jobs.rules.repository_values import ForgeRepository, Remote
from jobs.rules.stopping import StopSignal
from jobs.settings import WorkerSettings


@dataclass(frozen=True)
class Means:
    """The tools of a check.

    Attributes:
        pause: sleeps for the given number of seconds.
    """

    runtime: Runtime[WorkerSettings]
    forge: Forge
    source: Source
    pause: Callable[[float], object]


@dataclass(frozen=True)
class Look:
    """One repository, with everything needed to check it for missed pushes."""

    means: Means
    turn: Turn
    address: ForgeRepository
    remote: Remote
    hook_url: str
    api_token: SecretStr | None

    def head(self, ref: str) -> str | None:
        """Ask the git server for the commit of a branch or tag; None when it does not exist.

        Raises:
            CheckoutError: the repository refuses the token or does not exist.
            GitError: the server cannot be reached.
        """
        return self.means.source.head(self.remote, ref=ref, stop=StopSignal())


def prepare(session: Session, means: Means, turn: Turn) -> Look:
    """Gather what a check needs.

    Raises:
        ConfigurationError: the repository's token cannot be decrypted.
    """
    repository, settings = turn.repository, means.runtime.settings
    own = repository_token(session, repository.id or 0, means.runtime.vault)
    fallback = settings.github_token
    fetches = git_token(own, fallback, git_url=repository.git_url, api_url=settings.github_api_url)
    return Look(
        means,
        turn,
        ForgeRepository(repository.full_name, repository.github_id),
        Remote(repository_id=repository.id or 0, url=repository.git_url, token=fetches),
        webhook_url(settings),
        api_token(own, fallback),
    )
