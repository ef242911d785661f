"""The dashboard as the receiver will serve it: behind something that knows the visitor.

What the receiver answers itself (events, logs, triggers) is played here, with knobs, so that the
pages' scripts can be tested alone.
"""

import asyncio
import socket
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import uvicorn
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response, StreamingResponse
from starlette.routing import Mount, Route
from starlette.testclient import TestClient
from starlette.types import ASGIApp, Receive, Scope, Send

from dashboard.ansi import to_html
from dashboard.app import create_dashboard
from jobs.rules.visitor import Visitor
from jobs.settings import Settings
from jobs.states import ActorKind, Role
from jobs.storage.database import Database

CONTAINER: dict[str, object] = {
    "id": "4f1c0ffee",
    "state": "running",
    "reason": "",
    "since": "2026-11-23T15:45:58.123456789Z",
    "exit_code": None,
    "out_of_memory": False,
    "restarts": 0,
    "health": None,
}
ADA = Visitor(kind=ActorKind.USER, name="ada", role=Role.ADMIN, csrf_token="csrf-of-ada")
START_DEADLINE_S = 20
LOOK_S = 0.02


@dataclass
class Door:
    """What the played receiver does; tests turn the knobs."""

    visitor: Visitor | None = ADA
    posted: list[tuple[str, dict[str, object], str]] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)  # the queries for an app's own output
    answer: Callable[[], Response] = field(
        default=lambda: JSONResponse({"id": 1, "number": 1}, status_code=202)
    )
    events: Callable[[Request], Response] = field(default=lambda _: Response(status_code=404))
    changes: Callable[[], Response] = field(default=lambda: Response(status_code=404))
    container: Callable[[], Response] = field(default=lambda: JSONResponse(CONTAINER))
    output: Callable[[], Response] = field(default=lambda: PlainTextResponse(""))


@dataclass
class News:
    """A stream of events that tells what a test says, and holds its connections open."""

    told: list[str] = field(default_factory=list)  # names of events, to everybody who listens
    opened: int = 0
    listening: int = 0

    def stream(self) -> Response:
        """Answer as the receiver does; like there, a listener hears `changed` to begin with."""
        return StreamingResponse(self._events(), media_type="text/event-stream")

    async def _events(self) -> AsyncIterator[str]:
        self.opened += 1
        self.listening += 1
        heard = len(self.told)
        try:
            yield "event: changed\ndata: 0\n\n"
            while True:
                for name in self.told[heard:]:
                    heard += 1
                    yield f"event: {name}\ndata: {heard}\n\n"
                await asyncio.sleep(LOOK_S)
        finally:
            self.listening -= 1


class KnowsVisitor:
    """Puts the visitor where the receiver puts it."""

    def __init__(self, app: ASGIApp, door: Door) -> None:
        self.app, self.door = app, door

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        scope.setdefault("state", {})["visitor"] = self.door.visitor
        await self.app(scope, receive, send)


def output_of(lines: Iterable[str]) -> Response:
    """Answer as the receiver does when a page asks for an app's output."""
    return PlainTextResponse("".join(f"{to_html(line)}\n" for line in lines))


def make_site(database: Database, settings: Settings, door: Door) -> Starlette:
    """Give the dashboard with the played receiver around it."""

    async def take(request: Request) -> Response:
        given = (
            f"{request.method} {request.url.path}",
            await request.json(),
            request.headers.get("x-csrf-token", ""),
        )
        door.posted.append(given)
        return door.answer()

    def look(_request: Request) -> Response:
        return door.container()

    def read_output(request: Request) -> Response:
        door.asked.append(str(request.url.query))
        return door.output()

    def follow(request: Request) -> Response:
        return door.events(request)

    def hear(_request: Request) -> Response:
        return door.changes()

    return Starlette(
        routes=[
            Route("/api/apps/{app}", take, methods=["PATCH"]),
            Route("/api/apps/{app}/deployments", take, methods=["POST"]),
            Route("/api/apps/{app}/rollback", take, methods=["POST"]),
            Route("/api/apps/{app}/container", look),
            Route("/api/apps/{app}/logs", read_output),
            Route("/api/events", hear),
            Route("/api/deployments/{id:int}/cancel", take, methods=["POST"]),
            Route("/api/deployments/{id:int}/events", follow),
            Mount("/", create_dashboard(database, settings)),
        ],
        middleware=[Middleware(KnowsVisitor, door=door)],
    )


def page(client: TestClient, address: str, status: int = 200) -> str:
    """Give a page's HTML, once its status is as expected."""
    answer = client.get(address)
    assert answer.status_code == status, answer.text
    return answer.text


@contextmanager
def serving(site: Starlette) -> Iterator[str]:
    """Serve a site on a port of its own; gives its address."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        server = uvicorn.Server(
            uvicorn.Config(site, log_level="error", timeout_graceful_shutdown=1, lifespan="off")
        )
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
        thread.start()
        deadline = time.monotonic() + START_DEADLINE_S
        while not server.started:
            if time.monotonic() > deadline:
                raise TimeoutError("the test's web server did not start")
            time.sleep(0.02)
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        server.should_exit = True
        thread.join(timeout=10)
