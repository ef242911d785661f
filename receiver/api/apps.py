"""/api/apps: the apps and their configuration."""

from starlette.responses import Response

from jobs.reads.apps import app_view, app_views, find_app
from jobs.reads.views import AppView, Page, RemovedView
from jobs.records.apps import add_app, change_app, remove_app
from jobs.rules.app_fields import AppChange, AppInput, AppPatch
from jobs.states import Role
from receiver.routing import Call, Endpoints, Nothing, json_response

ENDPOINTS = Endpoints()


@ENDPOINTS.add("GET", "/api/apps", needs=Role.VIEWER)
def list_apps(call: Call[Nothing]) -> Page[AppView]:
    """List the apps, by name."""
    with call.reading() as session:
        return Page[AppView](items=app_views(session, call.settings))


@ENDPOINTS.add("POST", "/api/apps", needs=Role.ADMIN, gives=AppView, status=201, errors=(409,))
def create_app(call: Call[AppInput]) -> Response:
    """Make an app.

    When its repository is new, the answer contains the webhook's secret, which is shown only once.
    """
    with call.writing() as session:
        created = add_app(
            session, call.given, call.actor, settings=call.settings, vault=call.runtime.vault
        )
        view = app_view(session, created.app.name, call.settings)
    if created.webhook_secret is not None:
        secret = created.webhook_secret.get_secret_value()
        webhook = view.webhook.model_copy(update={"secret": secret})
        view = view.model_copy(update={"webhook": webhook})
    return json_response(view, 201, headers={"location": f"/api/apps/{view.name}"})


@ENDPOINTS.add("GET", "/api/apps/{app}", needs=Role.VIEWER)
def show_app(call: Call[Nothing]) -> AppView:
    """Describe an app: its configuration, its state, and its live release."""
    with call.reading() as session:
        return app_view(session, call.name(), call.settings)


@ENDPOINTS.add("PATCH", "/api/apps/{app}", needs=Role.ADMIN, takes=AppPatch, errors=(409,))
def update_app(call: Call[AppChange]) -> AppView:
    """Change the given fields; build and container settings take effect at the next deployment.

    A `git_url` on another server removes the repository's token; `notes` says so.
    """
    with call.writing() as session:
        changed = change_app(
            session,
            find_app(session, call.name()),
            call.given,
            call.actor,
            settings=call.settings,
            vault=call.runtime.vault,
        )
        view = app_view(session, changed.app.name, call.settings)
    return view.model_copy(update={"notes": changed.notes})


@ENDPOINTS.add("DELETE", "/api/apps/{app}", needs=Role.ADMIN, errors=(409,))
def delete_app(call: Call[Nothing]) -> RemovedView:
    """Remove an app and its history, and stop its containers.

    The last app of a repository takes the repository with it: its token, its webhook secret and the
    copy of its source. The webhook on GitHub stays; remove it there yourself.
    """
    with call.writing() as session:
        removed = remove_app(session, find_app(session, call.name()), call.actor)
    return RemovedView(
        removed=removed.app,
        repository_removed=removed.repository,
        notes=removed.notes(call.settings),
    )
