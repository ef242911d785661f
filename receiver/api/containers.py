"""/api/apps/{app}/container and /logs: what the watcher says of the live container."""

from typing import Any

from starlette.responses import PlainTextResponse, Response

from jobs.errors import NotFoundError
from jobs.models import App
from jobs.queries import find_app
from jobs.views import ContainerView
from receiver.routing import Call, Nothing
from receiver.schemas import TailQuery


def show_container(call: Call[Nothing]) -> ContainerView:
    """Say how the live container is at this moment, and bring the app's own state up to date."""
    return ContainerView.model_validate(call.runtime.bus.ask("container", app_id=_app(call).id))


def show_output(call: Call[TailQuery]) -> Response:
    """Give the last lines the live container wrote."""
    app = _app(call)
    if app.live_container_id is None:
        raise NotFoundError(f"{app.name} has no live container; deploy it first")
    answer = call.runtime.bus.ask("output", app_id=app.id, tail=call.given.tail)
    return PlainTextResponse("".join(f"{text}\n" for _at, text in answer["lines"]))


def _app(call: Call[Any]) -> App:
    with call.reading() as session:
        return find_app(session, call.name())
