"""The dashboard: every page, in one table. GET only, over a connection that cannot write."""

from typing import Any

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.routing import BaseRoute, Mount, Route

from dashboard import pages
from dashboard.views import apps, audit, deliveries, deployments, icons, login, overview
from jobs.database import Database
from jobs.settings import Settings
from jobs.states import Role

STATIC = pages.HERE / "static"


def routes() -> list[BaseRoute]:
    """Give the table of pages; all but the login and what it is drawn with need a visitor."""
    private = [Middleware(pages.VisitorsOnly)]
    admins = [*private, Middleware(pages.NeedsRole, role=Role.ADMIN)]
    return [
        Route("/", overview.show, middleware=private),
        Route("/apps/{app}", apps.show, middleware=private),
        Route("/deployments/{id:int}", deployments.show, middleware=private),
        Route("/deliveries", deliveries.show, middleware=private),
        Route("/audit", audit.show, middleware=admins),
        Route("/login", login.show),
        Route("/favicon.ico", icons.home),
        Route("/favicon/{tone}.svg", icons.show),
        Mount("/static", pages.Assets(directory=STATIC)),
    ]


def create_dashboard(database: Database, settings: Settings) -> Starlette:
    """Make the pages, to be mounted at `/` beside the routes that ask for changes.

    Each request's `state.visitor` must say who is looking: a `Visitor`, or None for nobody known.
    """
    handlers: dict[Any, Any] = dict(pages.HANDLERS)
    dashboard = Starlette(routes=routes(), exception_handlers=handlers)
    dashboard.state.database = database
    dashboard.state.settings = settings
    return dashboard
