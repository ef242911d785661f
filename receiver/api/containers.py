"""/api/apps/{app}/container and /logs: the live container, as the watcher reports it."""

from collections.abc import Sequence
from functools import partial
from typing import Any

from starlette.concurrency import run_in_threadpool
from starlette.responses import PlainTextResponse, Response

from dashboard.ansi import to_html
from jobs.errors import NotFoundError
from jobs.reads.apps import find_app
from jobs.reads.views import ContainerView
from jobs.states import Role
from jobs.storage.models import App
from receiver.api.questions import Questions
from receiver.routing import TEXT, Call, Endpoints, Nothing
from receiver.schemas import LineFormat, TailQuery

ENDPOINTS = Endpoints()


@ENDPOINTS.add("GET", "/api/apps/{app}/container", needs=Role.VIEWER)
async def show_container(call: Call[Nothing]) -> ContainerView:
    """Show the live container's state at this moment, and update the app's state with it."""
    app = await run_in_threadpool(_app, call)
    answer = await _asked(call, "container", app_id=app.id)
    return ContainerView.model_validate(answer)


@ENDPOINTS.add("GET", "/api/apps/{app}/logs", needs=Role.VIEWER, gives=TEXT)
async def show_output(call: Call[TailQuery]) -> Response:
    """Give the last lines that the live container wrote, with secrets masked.

    Of its terminal sequences only styles are kept (colours, bold, dim, italic, underlined), and
    every style ends with its line.
    """
    app = await run_in_threadpool(_app, call)
    if app.live_container_id is None:
        raise NotFoundError(f"{app.name} has no live container; deploy it first")
    answer = await _asked(call, "output", app_id=app.id, tail=call.given.tail)
    lines = [text for _at, text in answer["lines"]]
    if call.given.lines is LineFormat.HTML:
        lines = await run_in_threadpool(_drawn, lines)
    # Plain text, even for HTML lines: opened on its own, a container's output must not be a page.
    return PlainTextResponse("".join(f"{line}\n" for line in lines))


def _drawn(lines: Sequence[str]) -> list[str]:
    return [to_html(line) for line in lines]


async def _asked(call: Call[Any], kind: str, **about: Any) -> dict[str, Any]:  # noqa: ANN401
    questions: Questions = call.request.app.state.questions
    return await questions.ask(partial(call.runtime.bus.ask, kind, **about))


def _app(call: Call[Any]) -> App:
    with call.reading() as session:
        return find_app(session, call.name())
