"""The web process's application, for `uvicorn --factory receiver.app:create_app`."""

import asyncio
import logging
import os
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from functools import cache
from importlib.metadata import version
from typing import Any

from anyio import CapacityLimiter
from sqlalchemy.exc import DBAPIError
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.routing import BaseRoute, Mount, Route
from starlette.types import ExceptionHandler

from dashboard.app import create_dashboard
from jobs.errors import ConfigurationError, KeystoneError
from jobs.processes.configuration import read_settings
from jobs.processes.logging import set_up_logging
from jobs.processes.runtime import Runtime, open_runtime
from jobs.reads.log_outline import Outlines
from jobs.rules.redaction import Redactor
from jobs.settings import WebSettings, split_keys
from jobs.storage.database import KEPT_READERS
from jobs.system.earlier_web import take_port_over
from jobs.system.router_key import known_router_key
from receiver.access import Identify
from receiver.api.health import Readiness
from receiver.api.questions import Questions
from receiver.api.streams import Streams
from receiver.connections import KEPT_FILES, POOL, Bounds, Pool, bounds_for, raise_file_limit
from receiver.endpoints import ENDPOINTS, SHARED_WITH_PAGES
from receiver.errors import answer_error
from receiver.follow_changes import Changes
from receiver.follow_deployment import Tails
from receiver.headers import SecurityHeaders
from receiver.limits import BodyLimits, DeliverySlots, HeaderLimits, Slashes
from receiver.login_limits import LoginGate
from receiver.openapi import Document, describe
from receiver.own_router import OwnRouter
from receiver.proxies import Proxies
from receiver.refusals import NoteRefusals, Refusals
from receiver.routing import Resource, routes
from receiver.settings_pages import SETTINGS_PAGES
from receiver.wake_up import Waker

logger = logging.getLogger(__name__)

# The same exit code as that of every `keystone` command when the settings are not valid.
EXIT_SETTINGS = 2
HANDLED = (KeystoneError, HTTPException, DBAPIError, Exception)
HANDLERS: Mapping[Any, ExceptionHandler] = dict.fromkeys(HANDLED, answer_error)


def create_app(runtime: Runtime[WebSettings] | None = None) -> Starlette:
    """Make the application; without a runtime, open one from this process's environment.

    Raises:
        ConfigurationError: the settings are not valid.
        StorageError: the database cannot be used.
    """
    runtime, outlines = runtime or _open_own_runtime(), Outlines()
    refusals, router = Refusals(runtime.database), _own_router(runtime)
    app = Starlette(
        routes=_routes(runtime, outlines),
        middleware=_middleware(runtime, refusals, router),
        exception_handlers=HANDLERS,
        lifespan=_lifespan,
    )
    app.state.runtime, app.state.own_router = runtime, router
    # Pages read these two from the state: this app draws a page when one of its forms is refused.
    app.state.database, app.state.settings = runtime.database, runtime.settings
    app.state.waker = Waker(runtime.queue)
    app.state.login_gate = LoginGate()
    # Each thread takes one database connection, so there are as many threads as connections that
    # are reserved for deliveries.
    app.state.delivery_threads = CapacityLimiter(KEPT_READERS)
    app.state.streams = Streams()
    app.state.refusals = refusals
    app.state.readiness = Readiness(runtime)
    # Two queues, as on the bus: a question about a container never waits for GitHub.
    app.state.questions, app.state.errands = Questions(), Questions()
    app.state.outlines = outlines
    app.state.tails = Tails(runtime, outlines)
    app.state.changes = Changes(runtime.database)
    app.state.openapi = _description()
    return app


def _own_router(runtime: Runtime[WebSettings]) -> OwnRouter:
    return OwnRouter(known_router_key(runtime.settings.run_dir))


@cache
def _description() -> Document:
    return describe(ENDPOINTS, version=version("keystone"))


def _open_own_runtime() -> Runtime[WebSettings]:
    settings = read_settings(WebSettings, os.environ)
    set_up_logging(Redactor([settings.webhook_secret, *split_keys(settings.secret_key)]))
    _mask_what_the_server_says()
    try:
        return open_runtime(settings)
    except ConfigurationError as exc:
        # If this were raised, uvicorn would print it below a traceback of fifty lines.
        logger.error("%s", exc, extra={"action": "not_started"})  # noqa: TRY400
        raise SystemExit(EXIT_SETTINGS) from None


def _mask_what_the_server_says() -> None:
    """Send uvicorn's log records to our handler, which masks secrets; uvicorn's own does not."""
    for name in ("uvicorn", "uvicorn.error", "uvicorn.access"):
        server = logging.getLogger(name)
        server.handlers.clear()
        server.propagate = True


def _routes(runtime: Runtime[WebSettings], outlines: Outlines) -> list[BaseRoute]:
    sheets = SETTINGS_PAGES if runtime.settings.settings_pages else ()
    return [
        *routes(ENDPOINTS, shared=SHARED_WITH_PAGES),
        # The dashboard shows these pages; only the POSTs of their forms come here.
        *routes(sheets, shared=[sheet.path for sheet in sheets]),
        # An unknown address below /api gets a JSON error, not a page.
        Route("/api/{rest:path}", Resource(())),
        Mount("/", create_dashboard(runtime.database, runtime.settings, outlines)),
    ]


def _middleware(
    runtime: Runtime[WebSettings], refusals: Refusals, router: OwnRouter
) -> list[Middleware]:
    return [
        Middleware(Proxies, trusted=runtime.settings.trusted_proxies, router=router),
        Middleware(NoteRefusals, refusals=refusals),
        Middleware(SecurityHeaders),
        Middleware(HeaderLimits),
        Middleware(Slashes),
        Middleware(BodyLimits),
        Middleware(DeliverySlots),
        Middleware(Identify, runtime=runtime),
    ]


@asynccontextmanager
async def _lifespan(app: Starlette) -> AsyncIterator[Mapping[str, Any]]:
    runtime: Runtime[WebSettings] = app.state.runtime
    refusals: Refusals = app.state.refusals
    keeping = asyncio.create_task(refusals.keep())
    # The server begins to listen after this.
    take_port_over(runtime.settings.host, runtime.settings.port)
    # For `receiver.protocol`: uvicorn makes its objects and passes them this state.
    trusted, router = runtime.settings.trusted_proxies, app.state.own_router
    yield {POOL: Pool(_bounds(), trusted=trusted, router=router)}
    keeping.cancel()
    await refusals.write_down()
    runtime.database.close()


def _bounds() -> Bounds:
    files = raise_file_limit()
    bounds = bounds_for(files)
    if bounds.connections < Bounds().connections:
        logger.warning(
            "only %d connections are served at once: this process may open %d files, and needs %d "
            "for %d (`ulimit -n`, or LimitNOFILE of the service)",
            bounds.connections,
            files,
            Bounds().connections + KEPT_FILES,
            Bounds().connections,
            extra={"action": "few_files"},
        )
    return bounds
