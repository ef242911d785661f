"""Server-Sent Events: a deployment as it happens, and that anything at all has happened.

`log` carries whole lines, its id is where in the log they end; `state` carries the deployment. A
browser that comes back says with `Last-Event-ID` where it was.
"""

import asyncio
from collections.abc import AsyncIterator

from sse_starlette import EventSourceResponse, ServerSentEvent
from starlette.concurrency import run_in_threadpool
from starlette.responses import Response

from receiver.changes import Changes
from receiver.routing import Call
from receiver.schemas import LARGEST_OFFSET, FollowQuery, LineFormat
from receiver.tails import RETRY_MS, Tail, Tails

HEARTBEAT_S = 15
# After this the stream ends and the browser comes back: by then it may not be let in any more.
LONGEST_STREAM_S = 15 * 60


async def follow_deployment(call: Call[FollowQuery]) -> Response:
    """Follow a deployment: events `log` and `state`, until it is over and its log is drained.

    `Last-Event-ID` (or `offset`) says where in the log to begin. Coming back to what is over and
    read to its end is answered 204, which tells a browser to stop.
    """
    tails: Tails = call.request.app.state.tails
    tail = tails.of(call.id())
    resumed = _resumed_offset(call)
    await run_in_threadpool(tail.look)
    if resumed is not None and tail.is_over and tail.end == resumed:
        return Response(status_code=204)
    offset = call.given.offset if resumed is None else resumed
    return EventSourceResponse(_followed(tail, offset, call.given.lines), ping=HEARTBEAT_S)


async def follow_everything(call: Call[object]) -> Response:
    """Learn that something has changed: an event `changed` each time, and one to begin with.

    It says nothing of what has changed; whoever wants to know asks for what he shows.
    """
    changes: Changes = call.request.app.state.changes
    return EventSourceResponse(_changed(changes), ping=HEARTBEAT_S)


def _resumed_offset(call: Call[FollowQuery]) -> int | None:
    text = call.request.headers.get("last-event-id", "")
    if not (text.isascii() and text.isdecimal() and len(text) <= len(str(LARGEST_OFFSET))):
        return None
    return min(int(text), LARGEST_OFFSET)


async def _followed(tail: Tail, offset: int, lines: LineFormat) -> AsyncIterator[bytes]:
    told_state, told_build, version = b"", b"", -1
    clock = asyncio.get_running_loop().time
    end = clock() + LONGEST_STREAM_S
    async with tail:
        while clock() < end and not tail.is_gone:
            # Taken before the lines are read: what an end is the end of is sent before it.
            state, build, is_quiet = tail.state, tail.build, tail.is_quiet
            while (part := await tail.part(offset, lines)).end > offset:
                offset = part.end
                yield part.event
            if build != told_build and lines is LineFormat.HTML:
                yield (told_build := build)
            if state != told_state:
                yield (told_state := state)
            if is_quiet:
                return
            version = await tail.news(version, within_s=HEARTBEAT_S)


async def _changed(changes: Changes) -> AsyncIterator[ServerSentEvent]:
    version = -1
    clock = asyncio.get_running_loop().time
    end = clock() + LONGEST_STREAM_S
    async with changes:
        while clock() < end and not changes.is_gone:
            seen = await changes.news(version, within_s=HEARTBEAT_S)
            if seen != version:
                version = seen
                yield ServerSentEvent(str(version), event="changed", retry=RETRY_MS)
