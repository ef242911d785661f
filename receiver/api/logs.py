"""/api/deployments/{id}/logs: what the steps of a deployment said."""

from starlette.responses import PlainTextResponse, Response

from jobs.errors import NotFoundError
from jobs.logs import log_path, read_log
from jobs.queries import find_deployment
from receiver.routing import Call
from receiver.schemas import OffsetQuery

NEXT_OFFSET = "x-next-offset"


def show_log(call: Call[OffsetQuery]) -> Response:
    """Give whole lines of the log from `offset` on, about 1 MiB at most.

    `X-Next-Offset` says where to go on; it is `offset` again when there is nothing new.
    """
    with call.reading() as session:
        deployment = find_deployment(session, call.id())
    path = log_path(call.settings.logs_dir, deployment.id or 0)
    part = read_log(path, offset=call.given.offset)
    if part is None:
        why = "it is past its keep" if deployment.started_at else f"it is {deployment.state}"
        raise NotFoundError(f"deployment {deployment.id} has no log: {why}")
    return PlainTextResponse(part.text, headers={NEXT_OFFSET: str(part.next_offset)})
