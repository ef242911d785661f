"""Creates a repository's webhook on GitHub, or corrects the existing one."""

from dataclasses import dataclass
from typing import TypeVar

from pydantic import SecretStr
from sqlmodel import Session

from jobs.adapters.ports import Forge
from jobs.errors import ConflictError, NotFoundError
from jobs.processes.runtime import Runtime
from jobs.reads.apps import webhook_problem, webhook_url
from jobs.reads.secrets import api_token, repository_token, webhook_secrets
from jobs.reads.views import HookView
from jobs.records.audit import Tag, note
from jobs.rules.actors import Actor
from jobs.rules.repository_values import ForgeRepository, HookWish
from jobs.settings import WorkerSettings
from jobs.storage.models import App, Repository

Reaching = TypeVar("Reaching", bound=WorkerSettings)  # of a process that may reach GitHub


@dataclass(frozen=True)
class Wanted:
    """A webhook to install, and the token for installing it."""

    repository: Repository
    wish: HookWish
    token: SecretStr


def install_hook(runtime: Runtime[Reaching], forge: Forge, *, app_id: int, by: Actor) -> HookView:
    """Have GitHub send the pushes of an app's repository here, signed with its newest secret.

    Idempotent: a repeated call only corrects a changed secret or a webhook that somebody changed.

    Raises:
        NotFoundError: there is no such app.
        ConflictError: there is no token to use, or the repository has no secret of its own.
        GitHubError: GitHub refused (the message quotes it) or could not be reached.
    """
    with runtime.database.reading() as session:
        wanted = _wanted(session, runtime, app_id)
    repository = wanted.repository
    address = ForgeRepository(repository.full_name, repository.github_id)
    made = forge.install_hook(address, wanted.wish, wanted.token)
    with runtime.database.writing() as session:
        told = {"url": wanted.wish.url, "hook": made.id, "is_new": made.is_new}
        note(session, Tag.HOOK_INSTALLED, by, f"repository:{repository.id}", **told)
    return HookView(
        id=made.id,
        repository=repository.full_name,
        url=wanted.wish.url,
        is_new=made.is_new,
        problem=webhook_problem(runtime.settings),
    )


def _wanted(session: Session, runtime: Runtime[Reaching], app_id: int) -> Wanted:
    settings, vault = runtime.settings, runtime.vault
    app = session.get(App, app_id)
    if app is None:
        raise NotFoundError("the app was removed")
    repository = session.get_one(Repository, app.repository_id)
    token = api_token(repository_token(session, app.repository_id, vault), settings.github_token)
    if token is None:
        raise ConflictError(
            f"{repository.full_name} has no token to ask GitHub with; "
            f"`keystone app set {app.name} --token-stdin` sets one"
        )
    secrets = webhook_secrets(session, app.repository_id, vault)
    if not secrets:
        raise ConflictError(
            f"{repository.full_name} has no webhook secret of its own to sign with; "
            f"`keystone webhook-secret rotate {app.name}` makes one"
        )
    return Wanted(repository, HookWish(webhook_url(settings), secrets[0]), token)
