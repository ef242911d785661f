"""/api/repositories: where apps come from."""

from jobs.errors import NotFoundError
from jobs.models import Repository
from jobs.queries import repository_views
from jobs.records.apps import set_token
from jobs.views import Page, RepositoryView
from receiver.routing import Call, Nothing
from receiver.schemas import RepositoryTokenInput


def list_repositories(call: Call[Nothing]) -> Page[RepositoryView]:
    """List the repositories, by name."""
    with call.reading() as session:
        return Page[RepositoryView](items=repository_views(session))


def put_token(call: Call[RepositoryTokenInput]) -> RepositoryView:
    """Keep a repository's token; it is never shown again. An empty one takes it away."""
    repository_id = call.id()
    with call.writing() as session:
        repository = session.get(Repository, repository_id)
        if repository is None:
            raise NotFoundError(f"there is no repository with the id {repository_id}")
        set_token(session, repository, call.given.token, call.actor, vault=call.runtime.vault)
        session.flush()
        return next(view for view in repository_views(session) if view.id == repository_id)
