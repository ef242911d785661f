"""A probe that reads the containers of a fake engine."""

from jobs.rules.container_values import ProbeResult
from tests.fakes.engine import FakeEngine
from tests.fakes.router import FakeRouter
from tests.fakes.scripted import Scripted


class FakeProbe(Scripted):
    """Probes the fake engine's containers, directly or through the fake router's ports."""

    def __init__(
        self, engine: FakeEngine, router: FakeRouter, journal: list[str] | None = None
    ) -> None:
        super().__init__(journal)
        self._engine = engine
        self._router = router

    def look(
        self,
        host: str,
        port: int,
        path: str | None,
        *,
        timeout_s: float,
        healthy: range = range(200, 400),
    ) -> ProbeResult:
        """Give the result that the container's behaviour defines."""
        self._called("look", f"{host}:{port}")
        route = self._router.current.get(port)
        is_direct = host.startswith("10.201.")
        container = self._engine.at(
            f"{host}:{port}" if is_direct else route.address if route else ""
        )
        if container is None:
            return ProbeResult(healthy=False, seen="connection refused")
        behaviour = container.behaviour
        container.looks += 1
        if not is_direct and not behaviour.answers_through_router:
            return ProbeResult(healthy=False, seen=f"no answer within {timeout_s:g} s")
        is_down = container.looks <= behaviour.healthy_after or behaviour.unhealthy
        if path is None:
            seen = "connection refused" if is_down else "connected"
            return ProbeResult(healthy=not is_down, seen=seen)
        status = 503 if is_down else 200
        return ProbeResult(healthy=status in healthy, status=status, seen=f"status {status}")
