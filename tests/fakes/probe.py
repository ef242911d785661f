"""A probe that reads the containers of a fake engine."""

from jobs.rules.container_values import HealthRequest, ProbeResult
from tests.fakes.engine import Behaviour, FakeEngine
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
        self.requests: list[HealthRequest] = []

    def look(
        self,
        address: str,
        port: int,
        request: HealthRequest,
        *,
        timeout_s: float,
    ) -> ProbeResult:
        """Give the result that the container's behaviour defines."""
        self._called("look", f"{address}:{port}")
        self.requests.append(request)
        route = self._router.current.get(port)
        is_direct = address.startswith("10.201.")
        container = self._engine.at(
            f"{address}:{port}" if is_direct else route.address if route else ""
        )
        if container is None:
            return ProbeResult(healthy=False, seen="connection refused")
        behaviour = container.behaviour
        container.looks += 1
        if not is_direct and not behaviour.answers_through_router:
            return ProbeResult(healthy=False, seen=f"no answer within {timeout_s:g} s")
        is_down = container.looks <= behaviour.healthy_after or behaviour.unhealthy
        if request.path is None:
            seen = "connection refused" if is_down else "connected"
            return ProbeResult(healthy=not is_down, seen=seen)
        status = _status(behaviour, request, is_down=is_down, is_direct=is_direct)
        is_healthy = status in request.healthy
        said = "" if is_healthy else behaviour.says
        return ProbeResult(healthy=is_healthy, status=status, seen=f"status {status}", said=said)


def _status(behaviour: Behaviour, request: HealthRequest, *, is_down: bool, is_direct: bool) -> int:
    if is_down:
        return 503
    if behaviour.allows_host not in {"", request.host}:
        return 400
    # The router says for itself how a visitor came, and an app's own port is served by HTTP.
    is_https = request.is_https and is_direct
    return 301 if behaviour.insists_on_https and not is_https else 200
