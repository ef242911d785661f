"""Server-Sent Events: a deployment as it happens, and that anything at all has happened.

`log` carries whole lines, its id is where in the log they end; `state` carries the deployment. A
browser that comes back says with `Last-Event-ID` where it was. `ping` says that the server is
there: a comment never reaches a page's script, to which a dead stream looks like a quiet one.
"""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from typing import Any, TypeVar

from sse_starlette import ServerSentEvent
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response

from jobs.states import Role
from receiver.access import is_still_known
from receiver.api.streams import Stream, Streams
from receiver.follow_changes import Changes
from receiver.follow_deployment import RETRY_MS, Tail, Tails
from receiver.routing import EVENTS, Call, Endpoints, Nothing, visitor_of
from receiver.schemas import LARGEST_OFFSET, FollowQuery, LineFormat

ENDPOINTS = Endpoints()

PING_S = 10
# After this the stream ends and the browser comes back: by then it may not be let in any more.
LONGEST_STREAM_S = 15 * 60
# Who listens is asked who they are, should there be something to tell.
ASK_AGAIN_S = 5

Told = TypeVar("Told", bytes, ServerSentEvent)


@ENDPOINTS.add(
    "GET",
    "/api/deployments/{id}/events",
    needs=Role.VIEWER,
    gives=EVENTS,
    also=(204,),
    errors=(429,),
)
async def follow_deployment(call: Call[FollowQuery]) -> Response:
    """Follow a deployment: events `log` and `state`, until it is over and its log is drained.

    `Last-Event-ID` (or `offset`) says where in the log to begin. Coming back to what is over and
    read to its end is answered 204, which tells a browser to stop. An event `ping` comes every 10
    seconds, without an id: whoever hears nothing for longer has lost the connection. Of one visitor
    there are at most 20 streams (429), and 200 in all (503).
    """
    tails: Tails = call.request.app.state.tails
    tail = tails.of(call.id())
    resumed = _resumed_offset(call)
    await tail.look_now()
    if resumed is not None and tail.is_over and tail.end == resumed:
        return Response(status_code=204)
    offset = call.given.offset if resumed is None else resumed
    return _stream(call, _followed(tail, offset, call.given.lines))


@ENDPOINTS.add("GET", "/api/events", needs=Role.VIEWER, gives=EVENTS, errors=(429,))
async def follow_everything(call: Call[Nothing]) -> Response:
    """Learn that something has changed: an event `changed` each time, and one to begin with.

    It says nothing of what has changed; whoever wants to know asks for what he shows. One comes at
    least every minute, for what changes by mere time. An event `ping` comes every 10 seconds,
    without an id: whoever hears nothing for longer has lost the connection. Of one visitor there
    are at most 20 streams (429), and 200 in all (503).
    """
    changes: Changes = call.request.app.state.changes
    return _stream(call, _changed(changes))


def _stream(call: Call[Any], events: AsyncGenerator[Told]) -> Response:
    streams: Streams = call.request.app.state.streams
    heard = _while_known(call.request, events)
    return Stream(heard, streams, visitor_of(call), ping_s=PING_S)


async def _while_known(request: Request, events: AsyncGenerator[Told]) -> AsyncIterator[Told]:
    """Give events as long as who hears them may: until a session ends or a token is revoked."""
    clock = asyncio.get_running_loop().time
    asked = clock()
    async with aclosing(events):
        async for event in events:
            if clock() - asked > ASK_AGAIN_S:
                if not await run_in_threadpool(is_still_known, request):
                    return
                asked = clock()
            yield event


def _resumed_offset(call: Call[FollowQuery]) -> int | None:
    text = call.request.headers.get("last-event-id", "")
    if not (text.isascii() and text.isdecimal() and len(text) <= len(str(LARGEST_OFFSET))):
        return None
    return min(int(text), LARGEST_OFFSET)


async def _followed(tail: Tail, offset: int, lines: LineFormat) -> AsyncGenerator[bytes]:
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
            version = await tail.news(version, within_s=PING_S)


async def _changed(changes: Changes) -> AsyncGenerator[ServerSentEvent]:
    version = -1
    clock = asyncio.get_running_loop().time
    end = clock() + LONGEST_STREAM_S
    async with changes:
        while clock() < end and not changes.is_gone:
            seen = await changes.news(version, within_s=PING_S)
            if seen != version:
                version = seen
                yield ServerSentEvent(str(version), event="changed", retry=RETRY_MS)
