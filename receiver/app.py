"""The web process's application, for `uvicorn --factory receiver.app:create_app`."""

import os
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from importlib.metadata import version
from typing import Any

from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.routing import BaseRoute, Mount, Route
from starlette.types import ExceptionHandler

from dashboard.app import create_dashboard
from jobs.errors import KeystoneError
from jobs.logs import set_up_logging
from jobs.redaction import Redactor
from jobs.runtime import Runtime, open_runtime
from jobs.settings import WebSettings, read_settings
from receiver.access import Identify
from receiver.api.health import Readiness
from receiver.errors import answer_error
from receiver.headers import SecurityHeaders
from receiver.limits import BodyLimits, DeliverySlots, HeaderLimits, Slashes
from receiver.openapi import describe
from receiver.routing import Resource, routes
from receiver.sessions import LoginGate
from receiver.table import ENDPOINTS, SHARED_WITH_PAGES
from receiver.waking import Waker

HANDLED = (KeystoneError, HTTPException, DBAPIError, PoolTimeoutError, Exception)
HANDLERS: Mapping[Any, ExceptionHandler] = dict.fromkeys(HANDLED, answer_error)


def create_app(runtime: Runtime[WebSettings] | None = None) -> Starlette:
    """Make the application; without a runtime, from this process's environment.

    Raises:
        ConfigurationError: the settings will not do.
        StorageError: the database cannot be used.
    """
    runtime = runtime or _open_own_runtime()
    app = Starlette(
        routes=_routes(runtime),
        middleware=_middleware(runtime),
        exception_handlers=HANDLERS,
        lifespan=_lifespan,
    )
    app.state.runtime = runtime
    app.state.waker = Waker(runtime.queue)
    app.state.login_gate = LoginGate()
    app.state.readiness = Readiness(runtime)
    app.state.openapi = describe(ENDPOINTS, version=version("keystone"))
    return app


def _open_own_runtime() -> Runtime[WebSettings]:
    settings = read_settings(WebSettings, os.environ)
    set_up_logging(Redactor([settings.webhook_secret, settings.secret_key]))
    return open_runtime(settings)


def _routes(runtime: Runtime[WebSettings]) -> list[BaseRoute]:
    return [
        *routes(ENDPOINTS, shared=SHARED_WITH_PAGES),
        # What is missing below /api is told to a program, not shown on a page.
        Route("/api/{rest:path}", Resource(())),
        Mount("/", create_dashboard(runtime.database, runtime.settings)),
    ]


def _middleware(runtime: Runtime[WebSettings]) -> list[Middleware]:
    return [
        Middleware(SecurityHeaders),
        Middleware(HeaderLimits),
        Middleware(Slashes),
        Middleware(BodyLimits),
        Middleware(DeliverySlots),
        Middleware(Identify, database=runtime.database),
    ]


@asynccontextmanager
async def _lifespan(app: Starlette) -> AsyncIterator[None]:
    yield
    runtime: Runtime[WebSettings] = app.state.runtime
    runtime.database.close()
