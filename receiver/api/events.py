"""/api/deployments/{id}/events: a deployment as it happens, as Server-Sent Events.

`log` carries whole lines, its id is where in the log they end; `state` carries the deployment. A
browser that comes back says with `Last-Event-ID` where it was.
"""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import func
from sqlmodel import Session, col, select
from sse_starlette import EventSourceResponse, ServerSentEvent
from starlette.concurrency import run_in_threadpool
from starlette.responses import Response

from jobs.errors import NotFoundError, StorageError
from jobs.logs import log_path, read_log
from jobs.models import CommitStatus, Deployment, Step
from jobs.queries import deployment_view
from jobs.runtime import Runtime
from jobs.settings import WebSettings
from jobs.views import DeploymentView
from receiver.routing import Call
from receiver.schemas import LARGEST_OFFSET, OffsetQuery

POLL_S = 0.25
HEARTBEAT_S = 15
# After this the stream ends and the browser comes back: by then it may not be let in any more.
LONGEST_STREAM_S = 15 * 60
# What is over may still say a last word: the step that retires the old container, for one.
QUIET_POLLS = 4
LARGEST_EVENT_BYTES = 512 * 1024
RETRY_MS = 1000

Fingerprint = tuple[Any, ...]


@dataclass
class Follower:
    """Looks at one deployment again and again, and tells what is new."""

    runtime: Runtime[WebSettings]
    deployment_id: int
    offset: int
    fingerprint: Fingerprint = ()
    is_over: bool = False

    @property
    def path(self) -> Path:
        """Where the deployment's log is."""
        return log_path(self.runtime.settings.logs_dir, self.deployment_id)

    def look(self) -> list[ServerSentEvent]:
        """Give the events since the last look, at most one of each kind.

        Raises:
            NotFoundError: the deployment is gone.
            StorageError: the database does not answer.
        """
        # The state is read first: what an end is the end of has been written to the log by then.
        state, lines = self._state(), self._log()
        return [*lines, *state]

    def _state(self) -> list[ServerSentEvent]:
        with self.runtime.database.reading() as session:
            fingerprint = _fingerprint(session, self.deployment_id)
            if fingerprint == self.fingerprint:
                return []
            view = deployment_view(session, self.deployment_id)
        self.fingerprint = fingerprint
        self.is_over = _is_over(view)
        return [ServerSentEvent(view.model_dump_json(), event="state", retry=RETRY_MS)]

    def _log(self) -> list[ServerSentEvent]:
        part = read_log(self.path, offset=self.offset, limit=LARGEST_EVENT_BYTES)
        if part is None or part.next_offset == self.offset:
            return []
        self.offset = part.next_offset
        lines = part.text.removesuffix("\n")
        return [ServerSentEvent(lines, event="log", id=str(part.next_offset))]


def _is_over(view: DeploymentView) -> bool:
    return view.state.is_over and all(step.ended_at for step in view.steps)


def _fingerprint(session: Session, deployment_id: int) -> Fingerprint:
    """Give, by three small queries, what differs whenever the deployment's view differs."""
    steps = select(func.count(), func.count(col(Step.ended_at)), func.max(Step.started_at)).where(
        Step.deployment_id == deployment_id
    )
    statuses = select(
        func.count(), func.count(col(CommitStatus.posted_at)), func.sum(CommitStatus.attempts)
    ).where(CommitStatus.deployment_id == deployment_id)
    row = select(
        Deployment.state, Deployment.commit_sha, Deployment.release_id, Deployment.attempts
    ).where(Deployment.id == deployment_id)
    return tuple(session.exec(statement).first() for statement in (row, steps, statuses))


async def follow_deployment(call: Call[OffsetQuery]) -> Response:
    """Follow a deployment: events `log` and `state`, until it is over and its log is drained.

    `Last-Event-ID` (or `offset`) says where in the log to begin. Coming back to what is over and
    read to its end is answered 204, which tells a browser to stop.
    """
    deployment_id = call.id()
    resumed = _resumed_offset(call)
    follower = Follower(
        call.runtime, deployment_id, call.given.offset if resumed is None else resumed
    )
    first = await run_in_threadpool(follower.look)
    if resumed is not None and follower.is_over and follower.offset == resumed:
        return Response(status_code=204)
    return EventSourceResponse(_events(follower, first), ping=HEARTBEAT_S)


def _resumed_offset(call: Call[OffsetQuery]) -> int | None:
    text = call.request.headers.get("last-event-id", "")
    if not (text.isascii() and text.isdecimal() and len(text) <= len(str(LARGEST_OFFSET))):
        return None
    return int(text)


async def _events(
    follower: Follower, first: list[ServerSentEvent]
) -> AsyncIterator[ServerSentEvent]:
    clock = asyncio.get_running_loop().time
    end, quiet, news = clock() + LONGEST_STREAM_S, 0, first
    while clock() < end:
        for event in news:
            yield event
        quiet = 0 if news or not follower.is_over else quiet + 1
        if quiet >= QUIET_POLLS:
            return
        await asyncio.sleep(POLL_S)
        try:
            news = await run_in_threadpool(follower.look)
        except NotFoundError:  # the app was removed
            return
        except StorageError:  # it may answer again; the page keeps what it has
            news = []
