"""Repeats calls of the router while it is being restarted."""

import time
from collections.abc import Callable
from functools import wraps
from typing import Concatenate, ParamSpec, Protocol, TypeVar

from jobs.adapters.haproxy.runtime_api import SilentRouterError

RETRY_PAUSE_S = 0.1


class Patient(Protocol):
    """An object whose calls may be repeated for that long, in seconds."""

    patience_s: float


Router = TypeVar("Router", bound=Patient)
Asked = ParamSpec("Asked")
Given = TypeVar("Given")
Call = Callable[Concatenate[Router, Asked], Given]


def patiently(call: Call[Router, Asked, Given]) -> Call[Router, Asked, Given]:
    """Repeat an idempotent call while the router does not answer, for `patience_s` at most.

    The whole call is repeated, because it holds the lock of the router's files: a router that was
    killed starts again only while nobody holds that lock.
    """

    @wraps(call)
    def repeat(router: Router, /, *args: Asked.args, **options: Asked.kwargs) -> Given:
        deadline = time.monotonic() + router.patience_s
        while True:
            try:
                return call(router, *args, **options)
            except SilentRouterError:
                if time.monotonic() >= deadline:
                    raise
            time.sleep(RETRY_PAUSE_S)

    return repeat
