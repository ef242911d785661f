"""Server-Sent Events: the progress of one deployment, and a notice of any change at all.

A `log` event contains whole lines, and its id is the offset in the log at which they end; a `state`
event contains the deployment. A browser that reconnects sends its last offset as `Last-Event-ID`.
A `ping` event says that the connection works: a comment would not reach the page's script, which
then could not tell a dead stream from a quiet one.
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
# After this the stream ends and the browser reconnects, which authenticates it again.
LONGEST_STREAM_S = 15 * 60
# Before an event, the client's token or session is checked again, at most this often.
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
    """Follow a deployment: events `log` and `state`, until it has ended and its log is sent.

    `Last-Event-ID` (or `offset`) says where in the log to begin. A client that reconnects after all
    is sent gets 204, which tells a browser to stop. A `ping` event without an id comes every 10
    seconds: a client that receives nothing for longer has lost the connection. One visitor can have
    at most 20 streams (429), and all together 200 (503).
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
    """Follow all changes: an event `changed` after each change, and one at the beginning.

    The event does not say what has changed: load again what you show. One comes at least every
    minute, since some things change just because time passes. A `ping` event without an id comes
    every 10 seconds: a client that receives nothing for longer has lost the connection. One visitor
    can have at most 20 streams (429), and all together 200 (503).
    """
    changes: Changes = call.request.app.state.changes
    return _stream(call, _changed(changes))


def _stream(call: Call[Any], events: AsyncGenerator[Told]) -> Response:
    streams: Streams = call.request.app.state.streams
    heard = _while_known(call.request, events)
    return Stream(heard, streams, visitor_of(call), ping_s=PING_S)


async def _while_known(request: Request, events: AsyncGenerator[Told]) -> AsyncIterator[Told]:
    """Yield events until the client's session has ended or its token is revoked."""
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
            # Read the state before the lines: so the lines of a step are sent before its end.
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
