"""The dashboard's table of pages: GET only, over a database connection that cannot write."""

from typing import Any

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.routing import BaseRoute, Mount, Route

from dashboard import rendering
from dashboard.pages import (
    app_settings,
    apps,
    audit,
    certificates,
    deliveries,
    deployments,
    icons,
    login,
    new_app,
    overview,
    people,
    repositories,
)
from jobs.reads.log_outline import Outlines
from jobs.settings import Settings
from jobs.states import Role
from jobs.storage.database import Database

STATIC = rendering.HERE / "static"


def routes(*, settings_pages: bool = True) -> list[BaseRoute]:
    """Give the table of pages; all need a visitor, except the login, the icons and the assets."""
    private = [Middleware(rendering.VisitorsOnly)]
    admins = [*private, Middleware(rendering.NeedsRole, role=Role.ADMIN)]
    return [
        # Before the page of an app, which would match `/apps/new` too.
        *(_settings_routes(private, admins) if settings_pages else ()),
        Route("/", overview.show, middleware=private),
        Route("/apps/{app}", apps.show, middleware=private),
        Route("/deployments/{id:int}", deployments.show, middleware=private),
        Route("/deployments/{id:int}/lines", deployments.show_lines, middleware=private),
        Route("/deployments/{id:int}/matches", deployments.find_text, middleware=private),
        Route("/deliveries", deliveries.show, middleware=private),
        Route("/audit", audit.show, middleware=admins),
        Route("/login", login.show),
        Route("/favicon.ico", icons.home),
        Route("/favicon/{tone}.svg", icons.show),
        Mount("/static", rendering.Assets(directory=STATIC)),
    ]


def _settings_routes(private: list[Middleware], admins: list[Middleware]) -> list[BaseRoute]:
    """Give the pages with forms; the receiver handles the POSTs of those forms."""
    of_app = "/apps/{app}/settings"
    return [
        Route("/apps/new", new_app.show, middleware=admins),
        Route(of_app, app_settings.configuration, middleware=admins),
        Route(f"{of_app}/variables", app_settings.variables, middleware=admins),
        Route(f"{of_app}/domains", app_settings.domains, middleware=admins),
        Route(f"{of_app}/repository", app_settings.repository, middleware=admins),
        Route(f"{of_app}/remove", app_settings.remove, middleware=admins),
        Route("/repositories", repositories.show, middleware=admins),
        Route("/certificates", certificates.show, middleware=admins),
        Route("/users", people.users, middleware=admins),
        Route("/tokens", people.tokens, middleware=admins),
        Route("/account", people.account, middleware=private),
    ]


def create_dashboard(
    database: Database, settings: Settings, outlines: Outlines | None = None
) -> Starlette:
    """Make the application of the pages, to be mounted at `/` after the routes for changes.

    Each request's `state.visitor` must be a `Visitor`, or None for a stranger.
    """
    handlers: dict[Any, Any] = dict(rendering.HANDLERS)
    dashboard = Starlette(
        routes=routes(settings_pages=settings.settings_pages), exception_handlers=handlers
    )
    dashboard.state.database = database
    dashboard.state.settings = settings
    dashboard.state.outlines = outlines or Outlines()
    return dashboard
