"""/api/deployments/{id}/logs: what the steps of a deployment said."""

from pathlib import Path

from starlette.datastructures import Headers
from starlette.responses import FileResponse, PlainTextResponse, Response
from starlette.types import Message, Receive, Scope, Send

from jobs.errors import NotFoundError
from jobs.reads.deployments import find_deployment
from jobs.reads.log_outline import Outlines
from jobs.reads.views import OutlineView
from jobs.storage.deployment_log import log_path, read_log
from receiver.routing import Call
from receiver.schemas import LogQuery

NEXT_OFFSET = "x-next-offset"


class FileAsFound(FileResponse):
    """A file as long as it was when it was looked at, whatever is written to it meanwhile.

    A `FileResponse` goes on to the end, which is further away by then than it has declared.
    """

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send no more than what is declared."""
        left = 0

        async def send_what_was_found(message: Message) -> None:
            nonlocal left
            if message["type"] == "http.response.start":
                left = int(Headers(raw=message["headers"])["content-length"])
            else:
                message["body"] = message["body"][:left]
                left -= len(message["body"])
            await send(message)

        await super().__call__(scope, receive, send_what_was_found)


def show_log(call: Call[LogQuery]) -> Response:
    """Give the whole log, or whole lines of it from `offset` on, about 1 MiB at most.

    `X-Next-Offset` says where to go on; it is `offset` again when there is nothing new.
    """
    with call.reading() as session:
        deployment = find_deployment(session, call.id())
    path = log_path(call.settings.logs_dir, deployment.id or 0)
    answer = _whole(path) if call.given.offset is None else _part(path, call.given.offset)
    if answer is None:
        why = "it is past its keep" if deployment.started_at else f"it is {deployment.state}"
        raise NotFoundError(f"deployment {deployment.id} has no log: {why}")
    return answer


def show_outline(call: Call[object]) -> OutlineView:
    """Tell what the log holds: its lines by step, and each step of the build with its time."""
    with call.reading() as session:
        deployment = find_deployment(session, call.id())
    path = log_path(call.settings.logs_dir, deployment.id or 0)
    outlines: Outlines = call.request.app.state.outlines
    return outlines.of(path).view()


def _whole(path: Path) -> Response | None:
    if not path.is_file():
        return None
    # What is written while it is sent is left for the next offset.
    found = path.stat()
    headers = {NEXT_OFFSET: str(found.st_size)}
    return FileAsFound(path, headers=headers, media_type="text/plain", stat_result=found)


def _part(path: Path, offset: int) -> Response | None:
    part = read_log(path, offset=offset)
    if part is None:
        return None
    return PlainTextResponse(part.text, headers={NEXT_OFFSET: str(part.next_offset)})
