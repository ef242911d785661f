"""/api/repositories: the repositories of the apps, their tokens and webhook secrets."""

from datetime import timedelta

from pydantic import SecretStr
from sqlmodel import Session

from jobs.reads.apps import webhook_url
from jobs.reads.repositories import repository_view, repository_views
from jobs.reads.views import NewWebhookSecretView, Page, RemovedView, RepositoryView
from jobs.records.repositories import (
    drop_webhook_secrets,
    find_repository,
    finish_webhook_rotation,
    remove_repository,
    removed_notes,
    rotate_webhook_secret,
    set_repository_token,
)
from jobs.records.repository_identity import set_github_id
from jobs.states import Role
from jobs.storage.models import Repository
from receiver.routing import Call, Endpoints, Nothing
from receiver.schemas import (
    OverlapInput,
    RepositoryChange,
    RepositoryTokenInput,
    WebhookSecretInput,
)

ENDPOINTS = Endpoints()


@ENDPOINTS.add("GET", "/api/repositories", needs=Role.ADMIN)
def list_repositories(call: Call[Nothing]) -> Page[RepositoryView]:
    """List the repositories, by name."""
    with call.reading() as session:
        return Page[RepositoryView](items=repository_views(session))


@ENDPOINTS.add("PATCH", "/api/repositories/{id}", needs=Role.ADMIN, errors=(409,))
def change_repository(call: Call[RepositoryChange]) -> RepositoryView:
    """Set GitHub's id of the repository, for a Keystone that may not ask GitHub.

    Null forgets the known id, and Keystone asks GitHub for it. No delivery ever changes it.
    """
    with call.writing() as session:
        repository = find_repository(session, call.id())
        set_github_id(session, repository, call.given.github_id, call.actor)
        session.flush()
        return repository_view(session, call.id())


@ENDPOINTS.add("DELETE", "/api/repositories/{id}", needs=Role.ADMIN, errors=(409,))
def delete_repository(call: Call[Nothing]) -> RemovedView:
    """Remove a repository that no app uses, with its token and webhook secret.

    A repository that has apps is removed with the last of them; until then this is refused (409).
    """
    with call.writing() as session:
        repository = find_repository(session, call.id())
        remove_repository(session, repository, call.actor)
    name = repository.full_name
    return RemovedView(
        removed=name, repository_removed=name, notes=removed_notes(name, call.settings)
    )


@ENDPOINTS.add("PUT", "/api/repositories/{id}/token", needs=Role.ADMIN)
def put_token(call: Call[RepositoryTokenInput]) -> RepositoryView:
    """Set a repository's token; it is never shown again. An empty one removes the token."""
    with call.writing() as session:
        repository = find_repository(session, call.id())
        set_repository_token(
            session, repository, call.given.token, call.actor, vault=call.runtime.vault
        )
        session.flush()
        return repository_view(session, call.id())


@ENDPOINTS.add(
    "POST", "/api/repositories/{id}/webhook-secret", needs=Role.ADMIN, status=201, errors=(409,)
)
def rotate_secret(call: Call[OverlapInput]) -> NewWebhookSecretView:
    """Make a new webhook secret, shown only once. Older ones stay valid for a while."""
    with call.writing() as session:
        secret = _rotate(call, session, find_repository(session, call.id()))
        session.flush()
        view = repository_view(session, call.id())
    return NewWebhookSecretView(
        url=webhook_url(call.settings),
        secret=secret.get_secret_value(),
        previous_until=view.webhook_secret.previous_until,
    )


@ENDPOINTS.add("PUT", "/api/repositories/{id}/webhook-secret", needs=Role.ADMIN, errors=(409,))
def put_secret(call: Call[WebhookSecretInput]) -> RepositoryView:
    """Set a webhook secret of your own; it is never shown. Older ones stay valid for a while."""
    with call.writing() as session:
        _rotate(call, session, find_repository(session, call.id()), own=call.given.secret)
        session.flush()
        return repository_view(session, call.id())


def _rotate(
    call: Call[OverlapInput], session: Session, repository: Repository, own: SecretStr | None = None
) -> SecretStr:
    return rotate_webhook_secret(
        session,
        repository,
        call.actor,
        vault=call.runtime.vault,
        overlap=timedelta(hours=call.given.overlap_hours),
        own=own,
    )


@ENDPOINTS.add(
    "DELETE", "/api/repositories/{id}/webhook-secret/previous", needs=Role.ADMIN, errors=(409,)
)
def end_older_secrets(call: Call[Nothing]) -> None:
    """End the validity of older webhook secrets now."""
    with call.writing() as session:
        finish_webhook_rotation(session, find_repository(session, call.id()), call.actor)


@ENDPOINTS.add("DELETE", "/api/repositories/{id}/webhook-secret", needs=Role.ADMIN, errors=(409,))
def drop_secrets(call: Call[Nothing]) -> RepositoryView:
    """Remove a repository's own webhook secrets; KEYSTONE_WEBHOOK_SECRET is valid from then on.

    Where the repository has none of its own, nothing changes.
    """
    fallback = call.settings.webhook_secret
    with call.writing() as session:
        repository = find_repository(session, call.id())
        drop_webhook_secrets(session, repository, call.actor, fallback=fallback)
        session.flush()
        return repository_view(session, call.id())
