"""Converts the progress of a build to log events of numbered vertices. Pure."""

from collections.abc import Iterable

from jobs.adapters.buildkit.trace import Output, Vertex
from jobs.adapters.ports import BuildLog
from jobs.rules.build_causes import Cause
from jobs.rules.log_events import MOST_SECONDS, BuildEvent, EventKind
from jobs.rules.reasons import quoted

# The most bytes kept of one line. A log shows far less, so a secret cut here is never shown.
MOST_HELD_BYTES = 256 * 1024


class Lines:
    """Assembles lines from pieces of bytes; buffers at most one unfinished line."""

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, data: bytes) -> list[str]:
        """Add bytes; return the lines that are now complete, each cut at `MOST_HELD_BYTES`."""
        if len(self._rest) == MOST_HELD_BYTES and not {*b"\r\n"} & {*data}:
            return []
        *lines, self._rest = (self._rest + data).split(b"\n")
        if len(self._rest) > MOST_HELD_BYTES:
            # A progress bar overwrites itself with carriage returns, and may never end its line.
            self._rest = _last_drawn(self._rest)[:MOST_HELD_BYTES]
        return [_text(line) for line in lines]

    def end(self) -> list[str]:
        """Return the unfinished line, if any."""
        rest, self._rest = self._rest, b""
        return [_text(rest)] if rest else []


class Progress:
    """Logs the start, output and end of each step once, and stores the step that failed.

    Attributes:
        failed: the first step that failed; None until then.
        cause: what its output says about the failure.
    """

    def __init__(self, log: BuildLog) -> None:
        self.failed: Vertex | None = None
        self.cause = Cause()
        self._log = log
        self._steps: dict[str, _Step] = {}

    def feed(self, event: Vertex | Output) -> None:
        """Log the events that follow from one message of the builder."""
        step = self._steps.setdefault(event.digest, _Step(len(self._steps) + 1))
        if isinstance(event, Output):
            lines = step.output[event.is_error].feed(event.data)
            self._tell_output(step, lines, is_error=event.is_error)
            return
        self._begin(step, event)
        if event.completed_s is not None and not step.is_over:
            step.is_over = True
            self._finish(step, event)

    def end(self) -> None:
        """Log the unfinished lines of steps that did not end."""
        for step in self._steps.values():
            self._end_output(step)

    def _begin(self, step: "_Step", vertex: Vertex) -> None:
        if vertex.started_s is not None and not step.is_named:
            step.is_named = True
            self._log(BuildEvent(EventKind.NAME, quoted(vertex.name), step.number))

    def _finish(self, step: "_Step", vertex: Vertex) -> None:
        self._end_output(step)
        cause, step.cause = step.cause, Cause()
        if vertex.error:
            self._log(BuildEvent(EventKind.ERROR, quoted(vertex.error), step.number))
            if self.failed is None:
                self.failed, self.cause = vertex, cause
        elif vertex.cached:
            self._log(BuildEvent(EventKind.CACHED, vertex=step.number))
        else:
            seconds = _duration_s(vertex)
            self._log(BuildEvent(EventKind.DONE, vertex=step.number, seconds=seconds))

    def _end_output(self, step: "_Step") -> None:
        for is_error, lines in step.output.items():
            self._tell_output(step, lines.end(), is_error=is_error)

    def _tell_output(self, step: "_Step", lines: Iterable[str], *, is_error: bool) -> None:
        for line in lines:
            step.cause.feed(line, is_error=is_error)
            self._log(BuildEvent(EventKind.OUTPUT, line, step.number))


class _Step:
    def __init__(self, number: int) -> None:
        self.number = number
        # One for each stream: a line of one must not end up inside a line of the other.
        self.output = {False: Lines(), True: Lines()}
        self.cause = Cause()
        self.is_named = False
        self.is_over = False


def _duration_s(vertex: Vertex) -> float:
    if vertex.started_s is None or vertex.completed_s is None:
        return 0.0
    # Bound it: the engine's clock may have been set back or forward during the step.
    return min(max(vertex.completed_s - vertex.started_s, 0.0), MOST_SECONDS - 1.0)


def _last_drawn(line: bytes) -> bytes:
    """Give the part of a line that a terminal still shows after carriage returns."""
    return line.rstrip(b"\r").rpartition(b"\r")[2]


def _text(line: bytes) -> str:
    return _last_drawn(line)[:MOST_HELD_BYTES].decode(errors="replace")
