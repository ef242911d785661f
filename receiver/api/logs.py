"""/api/deployments/{id}/logs and /outline: the log of a deployment."""

from contextlib import closing
from pathlib import Path

from starlette.concurrency import run_in_threadpool
from starlette.datastructures import Headers
from starlette.responses import FileResponse, PlainTextResponse, Response
from starlette.types import Message, Receive, Scope, Send

from jobs.errors import NotFoundError
from jobs.reads.deployments import find_deployment
from jobs.reads.log_outline import Outlines
from jobs.reads.views import OutlineView
from jobs.states import Role
from jobs.storage.deployment_log import log_path, read_log, read_shown
from receiver.routing import TEXT, Call, Endpoints, Nothing
from receiver.schemas import LogQuery

ENDPOINTS = Endpoints()

NEXT_OFFSET = "x-next-offset"
SENDS_LOG = (200, 206)


class LogAsFound(FileResponse):
    """A whole log as plain text, or a range of it, up to the size it had when it was opened.

    A plain `FileResponse` would send the raw file, up to its present end, which may be beyond the
    declared length because the log grows.
    """

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the log's text instead of the raw file, and not more than the declared length."""
        file = await run_in_threadpool(Path(self.path).open, "rb")
        is_log, place, left = False, 0, 0

        async def send_text(message: Message) -> None:
            nonlocal is_log, place, left
            if message["type"] == "http.response.start":
                if is_log := message["status"] in SENDS_LOG:
                    headers = Headers(raw=message["headers"])
                    place, left = _first_byte(headers), int(headers["content-length"])
            elif is_log:
                size = min(len(message["body"]), left)
                message["body"] = await run_in_threadpool(read_shown, file, place, size)
                place, left = place + size, left - size
            await send(message)

        with closing(file):
            await super().__call__(_with_one_range(scope), receive, send_text)


@ENDPOINTS.add("GET", "/api/deployments/{id}/logs", needs=Role.VIEWER, gives=TEXT, also=(206,))
def show_log(call: Call[LogQuery]) -> Response:
    """Give the whole log, or whole lines of it from `offset` on, about 1 MiB at most.

    `X-Next-Offset` says where to continue; it equals `offset` when there is nothing new.
    """
    with call.reading() as session:
        deployment = find_deployment(session, call.id())
    path = log_path(call.settings.logs_dir, deployment.id or 0)
    answer = _whole(path) if call.given.offset is None else _part(path, call.given.offset)
    if answer is None:
        why = "its retention time is over" if deployment.started_at else f"it is {deployment.state}"
        raise NotFoundError(f"deployment {deployment.id} has no log: {why}")
    return answer


@ENDPOINTS.add("GET", "/api/deployments/{id}/outline", needs=Role.VIEWER)
def show_outline(call: Call[Nothing]) -> OutlineView:
    """Describe the log's structure: its lines by step, and each step of the build with its time."""
    with call.reading() as session:
        deployment = find_deployment(session, call.id())
    path = log_path(call.settings.logs_dir, deployment.id or 0)
    outlines: Outlines = call.request.app.state.outlines
    return outlines.of(path).view()


def _whole(path: Path) -> Response | None:
    if not path.is_file():
        return None
    # Lines written while this is sent come after the next offset.
    found = path.stat()
    headers = {NEXT_OFFSET: str(found.st_size)}
    return LogAsFound(path, headers=headers, media_type=TEXT, stat_result=found)


def _part(path: Path, offset: int) -> Response | None:
    part = read_log(path, offset=offset)
    if part is None:
        return None
    return PlainTextResponse(part.text, headers={NEXT_OFFSET: str(part.next_offset)})


def _first_byte(headers: Headers) -> int:
    """Give the offset at which an answer begins: 2 for `Content-Range: bytes 2-7/8`."""
    return int(headers.get("content-range", "bytes 0-").removeprefix("bytes ").partition("-")[0])


def _with_one_range(scope: Scope) -> Scope:
    """Drop a `Range` header with several ranges: the request gets the whole log instead."""
    headers = [(k, v) for k, v in scope["headers"] if k != b"range" or b"," not in v]
    return {**scope, "headers": headers}
