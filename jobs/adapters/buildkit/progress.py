"""The progress of a build as events of its vertices, each with a number. Pure."""

from collections.abc import Iterable

from jobs.adapters.buildkit.trace import Output, Vertex
from jobs.adapters.ports import BuildLog
from jobs.rules.log_events import MOST_SECONDS, BuildEvent, EventKind
from jobs.rules.reasons import quoted

# Of one line. A log shows far less of it, so that no secret is shown that is cut here.
MOST_HELD_BYTES = 256 * 1024


class Lines:
    """Makes lines of bytes that come in pieces; holds back at most one unfinished line."""

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, data: bytes) -> list[str]:
        """Give the lines that are complete now, of one that is too long its beginning."""
        if len(self._rest) == MOST_HELD_BYTES and not {*b"\r\n"} & {*data}:
            return []
        *lines, self._rest = (self._rest + data).split(b"\n")
        if len(self._rest) > MOST_HELD_BYTES:
            # A progress bar draws over itself by carriage returns and may never end its line.
            self._rest = _last_drawn(self._rest)[:MOST_HELD_BYTES]
        return [_text(line) for line in lines]

    def end(self) -> list[str]:
        """Give what was held back."""
        rest, self._rest = self._rest, b""
        return [_text(rest)] if rest else []


class Progress:
    """Tells a log what becomes of each step, once, and remembers which one failed.

    Attributes:
        failed: the step that the build failed at, once there is one.
    """

    def __init__(self, log: BuildLog) -> None:
        self.failed: Vertex | None = None
        self._log = log
        self._steps: dict[str, _Step] = {}

    def feed(self, event: Vertex | Output) -> None:
        """Tell the log what follows from one message of the builder."""
        step = self._steps.setdefault(event.digest, _Step(len(self._steps) + 1))
        if isinstance(event, Output):
            self._tell_output(step, step.output.feed(event.data))
            return
        self._begin(step, event)
        if event.completed_s is not None and not step.is_over:
            step.is_over = True
            self._finish(step, event)

    def end(self) -> None:
        """Tell the log what steps without an end have left unfinished."""
        for step in self._steps.values():
            self._tell_output(step, step.output.end())

    def _begin(self, step: "_Step", vertex: Vertex) -> None:
        if vertex.started_s is not None and not step.is_named:
            step.is_named = True
            self._log(BuildEvent(EventKind.NAME, quoted(vertex.name), step.number))

    def _finish(self, step: "_Step", vertex: Vertex) -> None:
        self._tell_output(step, step.output.end())
        if vertex.error:
            self._log(BuildEvent(EventKind.ERROR, quoted(vertex.error), step.number))
            self.failed = self.failed or vertex
        elif vertex.cached:
            self._log(BuildEvent(EventKind.CACHED, vertex=step.number))
        else:
            seconds = _duration_s(vertex)
            self._log(BuildEvent(EventKind.DONE, vertex=step.number, seconds=seconds))

    def _tell_output(self, step: "_Step", lines: Iterable[str]) -> None:
        for line in lines:
            self._log(BuildEvent(EventKind.OUTPUT, line, step.number))


class _Step:
    def __init__(self, number: int) -> None:
        self.number = number
        self.output = Lines()
        self.is_named = False
        self.is_over = False


def _duration_s(vertex: Vertex) -> float:
    if vertex.started_s is None or vertex.completed_s is None:
        return 0.0
    # The engine's clock may have been set back or forward meanwhile.
    return min(max(vertex.completed_s - vertex.started_s, 0.0), MOST_SECONDS - 1.0)


def _last_drawn(line: bytes) -> bytes:
    """Give what a terminal would still show of a line that was drawn over by carriage returns."""
    return line.rstrip(b"\r").rpartition(b"\r")[2]


def _text(line: bytes) -> str:
    return _last_drawn(line)[:MOST_HELD_BYTES].decode(errors="replace")
