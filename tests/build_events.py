"""A builder's events, written shortly."""

from collections.abc import Callable

from jobs.adapters.ports import BuildLog
from jobs.rules.log_events import BuildEvent, EventKind


def remark(text: str) -> BuildEvent:
    return BuildEvent(EventKind.TEXT, text)


def named(vertex: int, text: str) -> BuildEvent:
    return BuildEvent(EventKind.NAME, text, vertex)


def output(vertex: int, text: str) -> BuildEvent:
    return BuildEvent(EventKind.OUTPUT, text, vertex)


def cached(vertex: int) -> BuildEvent:
    return BuildEvent(EventKind.CACHED, vertex=vertex)


def done(vertex: int, seconds: float) -> BuildEvent:
    return BuildEvent(EventKind.DONE, vertex=vertex, seconds=seconds)


def failed(vertex: int, text: str) -> BuildEvent:
    return BuildEvent(EventKind.ERROR, text, vertex)


def shown_to(take: Callable[[str], None]) -> BuildLog:
    """Give what takes events for somebody who takes lines of plain text."""
    return lambda event: take(event.shown)
