"""Follows a deployment: one poll serves all its followers.

Each follower has its own offset in the log. Lines that are new to several followers are read and
drawn once. There is no queue per follower: a slow follower gets more lines at a time.
"""

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any
from weakref import WeakValueDictionary

import sqlalchemy
from sqlalchemy import func
from sqlmodel import Session, col, select
from sse_starlette import ServerSentEvent
from starlette.concurrency import run_in_threadpool

from dashboard import log_lines
from dashboard.build_steps import draw_build
from jobs.processes.runtime import Runtime
from jobs.reads.deployments import deployment_view
from jobs.reads.log_outline import Outline, Outlines
from jobs.reads.views import BuildStepView, DeploymentView
from jobs.reads.waiting import Waiting, waits
from jobs.rules.log_events import LogEvent
from jobs.settings import WebSettings
from jobs.storage.deployment_log import as_text, log_path, read_events
from jobs.storage.models import CommitStatus, Deployment, Step
from receiver.polling import Lookout
from receiver.schemas import LineFormat

LOOK_S = 0.2
# A deployment that has ended may still log more: the step that retires the old container, say. So
# it counts as quiet only after this many polls without news.
QUIET_LOOKS = 5
# How many polls there are to one for what a queued deployment waits for.
LOOKS_A_QUEUE_LOOK = 5
LARGEST_EVENT_BYTES = 256 * 1024
MOST_KEPT = 4
RETRY_MS = 1000

Fingerprint = tuple[Any, ...]


@dataclass(frozen=True)
class Part:
    """Lines of a log as an encoded event, and the offset in bytes at which they end."""

    event: bytes
    end: int


class Tail(Lookout):
    """One deployment and its log, as of the last poll.

    Attributes:
        state: the event with the deployment's state.
        build: the event with the build's steps; empty until there are some.
        end: where the log ends, in bytes.
        is_over: the deployment and all of its steps have ended.
        is_quiet: it is over, and `QUIET_LOOKS` polls since then brought no news.
    """

    def __init__(
        self, runtime: Runtime[WebSettings], outlines: Outlines, deployment_id: int
    ) -> None:
        super().__init__(every_s=LOOK_S)
        self.state, self.build = b"", b""
        self.end = 0
        self.is_over, self.is_quiet = False, False
        self._database, self._id = runtime.database, deployment_id
        self._path = log_path(runtime.settings.logs_dir, deployment_id)
        self._outlines, self._outline = outlines, Outline(self._path)
        self._fingerprint: Fingerprint = ()
        self._looks, self._waiting = 0, dict[int, Waiting]()
        self._quiet_looks = 0
        self._built: list[BuildStepView] = []
        self._reading, self._kept = asyncio.Lock(), dict[tuple[int, LineFormat], Part]()

    def look(self) -> bool:
        """Poll once; give whether there is news.

        Raises:
            NotFoundError: the deployment is gone.
            StorageError: the database does not answer.
        """
        # Read the state before the log: when the state says that something has ended, all of its
        # lines are in the log already.
        is_changed = self._look_at_state()
        has_news = self._look_at_log() or is_changed
        was_quiet = self.is_quiet
        self._quiet_looks = 0 if has_news or not self.is_over else self._quiet_looks + 1
        self.is_quiet = self._quiet_looks >= QUIET_LOOKS
        return has_news or self.is_quiet is not was_quiet

    async def part(self, offset: int, lines: LineFormat) -> Part:
        """Give lines from an offset on, about 256 KiB; read once for all followers at that offset.

        A part that ends where it begins has no lines.
        """
        async with self._reading:
            if found := self._kept.get((offset, lines)):
                return found
            part = await run_in_threadpool(self._read, offset, lines)
            if part.end > offset:
                self._kept[offset, lines] = part
            while len(self._kept) > MOST_KEPT:
                self._kept.pop(next(iter(self._kept)))
            return part

    def _look_at_state(self) -> bool:
        with self._database.reading() as session:
            fingerprint = (*_fingerprint(session, self._id), self._look_at_queue(session))
            if fingerprint == self._fingerprint:
                return False
            view = deployment_view(session, self._id)
        self._fingerprint, self.is_over = fingerprint, _is_over(view)
        self.state = _event("state", view.model_dump_json(), retry=RETRY_MS)
        return True

    def _look_at_queue(self, session: Session) -> dict[int, Waiting]:
        """Give what the deployment waits for; ask for it only now and then, since it costs more."""
        if self._looks % LOOKS_A_QUEUE_LOOK == 0:
            row = session.get(Deployment, self._id)
            self._waiting = waits(session, [row] if row else [])
        self._looks += 1
        return self._waiting

    def _look_at_log(self) -> bool:
        if not self._path.is_file() or self._path.stat().st_size == self.end:
            return False
        self._outline = self._outlines.of(self._path)
        if self._outline.size == self.end:
            return False  # a line that is still being written
        self.end, build = self._outline.size, self._outline.view().build
        if build != self._built:
            self._built, self.build = build, _event("build", draw_build(build))
        return True

    def _read(self, offset: int, lines: LineFormat) -> Part:
        limit = min(LARGEST_EVENT_BYTES, self.end - offset)
        found = read_events(self._path, offset=offset, limit=limit) if limit > 0 else None
        if found is None or found.next_offset == offset:
            return Part(b"", offset)
        is_html = lines is LineFormat.HTML
        data = self._drawn(offset, found.events) if is_html else as_text(found.events)
        id_ = str(found.next_offset)
        return Part(_event("log", data.removesuffix("\n"), id=id_), found.next_offset)

    def _drawn(self, offset: int, events: Iterable[LogEvent]) -> str:
        numbered = enumerate(events, self._outline.line_at(offset))
        lines = [log_lines.Line(number, event) for number, event in numbered]
        return log_lines.draw(lines, self._outline.view().sections)


class Tails:
    """The deployments that are being followed."""

    def __init__(self, runtime: Runtime[WebSettings], outlines: Outlines) -> None:
        self._runtime, self._outlines = runtime, outlines
        self._followed: WeakValueDictionary[int, Tail] = WeakValueDictionary()

    def of(self, deployment_id: int) -> Tail:
        """Give the tail of a deployment; all its current followers share one."""
        tail = self._followed.get(deployment_id)
        if tail is None or tail.is_gone:
            tail = Tail(self._runtime, self._outlines, deployment_id)
            self._followed[deployment_id] = tail
        return tail


def _event(name: str, data: str, **fields: Any) -> bytes:  # noqa: ANN401
    encoded: bytes = ServerSentEvent(data, event=name, **fields).encode()
    return encoded


def _is_over(view: DeploymentView) -> bool:
    return view.state.is_over and all(step.ended_at for step in view.steps)


def _fingerprint(session: Session, deployment_id: int) -> Fingerprint:
    """Give, by three small queries, a value that differs whenever the deployment's view differs."""
    steps = select(func.count(), func.count(col(Step.ended_at)), func.max(Step.started_at)).where(
        Step.deployment_id == deployment_id
    )
    statuses = select(
        func.count(), func.count(col(CommitStatus.posted_at)), func.sum(CommitStatus.attempts)
    ).where(CommitStatus.deployment_id == deployment_id)
    row = sqlalchemy.select(
        col(Deployment.state),
        col(Deployment.commit_sha),
        col(Deployment.release_id),
        col(Deployment.attempts),
        col(Deployment.cancelled_by),
    ).where(col(Deployment.id) == deployment_id)
    found = session.connection().execute
    return tuple(tuple(found(statement).first() or ()) for statement in (row, steps, statuses))
