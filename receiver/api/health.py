"""/healthz and /readyz: whether the process is alive, and whether Keystone can work."""

import time
from collections.abc import Callable

from anyio import CapacityLimiter, to_thread
from sqlmodel import select
from starlette.responses import Response

from jobs.errors import KeystoneError
from jobs.processes.runtime import Runtime
from jobs.settings import WebSettings
from receiver.access import Door
from receiver.routing import Call, Endpoints, Nothing, json_response
from receiver.schemas import HealthView, ReadinessView

ENDPOINTS = Endpoints()

OK, FAILED = "ok", "failed"
KEPT_S = 1.0


class Readiness:
    """The cached result of the readiness checks; they run at most once a second, one at a time.

    Anybody may ask, so a request must be cheap: waiting for the checks holds no thread.
    """

    def __init__(self, runtime: Runtime[WebSettings]) -> None:
        self._runtime = runtime
        self._turn = CapacityLimiter(1)
        self._found = ReadinessView(status=FAILED, checks={})
        self._looked_at = -KEPT_S

    async def look(self) -> ReadinessView:
        """Give the state of the parts, at most a second old."""
        return await to_thread.run_sync(self._look, limiter=self._turn)

    def _look(self) -> ReadinessView:
        if time.monotonic() - self._looked_at >= KEPT_S:
            self._found = _check(self._runtime)
            self._looked_at = time.monotonic()
        return self._found


def _check(runtime: Runtime[WebSettings]) -> ReadinessView:
    watched = _watched(runtime)
    checks = {
        "database": _word(lambda: _read_something(runtime)),
        "redis": _word(runtime.bus.ping),
        "docker": OK if watched.get("docker") == OK else FAILED,
        "router": OK if watched.get("router") == OK else FAILED,
    }
    # Accepting a push needs only the database; if another part fails, the push just waits.
    if checks["database"] != OK:
        return ReadinessView(status=FAILED, checks=checks)
    is_whole = set(checks.values()) == {OK}
    return ReadinessView(status=OK if is_whole else "degraded", checks=checks)


def _watched(runtime: Runtime[WebSettings]) -> dict[str, str]:
    try:
        return runtime.bus.health() or {}
    except KeystoneError:
        return {}


def _word(check: Callable[[], None]) -> str:
    try:
        check()
    except KeystoneError:
        return FAILED
    return OK


def _read_something(runtime: Runtime[WebSettings]) -> None:
    with runtime.database.reading() as session:
        session.exec(select(1)).one()


@ENDPOINTS.add("GET", "/healthz", needs=Door.ANYONE)
def show_health(_call: Call[Nothing]) -> HealthView:
    """Say that the process is alive; this checks no other part."""
    return HealthView(status=OK)


@ENDPOINTS.add("GET", "/readyz", needs=Door.ANYONE, gives=ReadinessView, also=(503,))
async def show_readiness(call: Call[Nothing]) -> Response:
    """Show the state of database, Redis, Docker and router; 503 when no push can be accepted."""
    readiness: Readiness = call.request.app.state.readiness
    found = await readiness.look()
    return json_response(found, 503 if found.status == FAILED else 200)
