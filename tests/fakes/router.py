"""An in-memory router."""

from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import replace

from pydantic import SecretStr

from jobs.errors import PortNotServedError, RouterError
from jobs.rules.container_values import Route, Warm
from tests.fakes.scripted import Scripted


class FakeRouter(Scripted):
    """A router.

    Tests can set `down`, `flying` (the number of open requests of each slot), and an act for every
    call.
    """

    def __init__(self, ports: Collection[int], journal: list[str] | None = None) -> None:
        super().__init__(journal)
        self.ports = ports
        self.down = False
        self.flying: Counter[tuple[int, str]] = Counter()
        self.current: dict[int, Route] = {}
        self.kept_warm: dict[int, Warm] = {}
        self.domains: dict[str, int] = {}
        self.certificates: dict[str, SecretStr] = {}
        self.is_held = False

    def version(self) -> str:
        """Give a fixed version."""
        self._called("version")
        return "2.6.12"

    def switch(self, route: Route) -> None:
        """Send new requests to the route's address."""
        self._called("switch", f"{route.port}/{route.slot} {route.address}")
        host, _, port = route.address.rpartition(":")
        if route.slot not in {"a", "b"} or not host or not port.isdecimal():
            raise RouterError(f"{route} makes no sense")
        if route.port not in self.ports:
            raise PortNotServedError(f"the router does not listen on port {route.port}")
        before, warm = self.current.get(route.port), self.kept_warm.get(route.port)
        if warm is not None and before is not None and before != route:
            self.kept_warm[route.port] = replace(warm, live_slot=route.slot, address=before.address)
        self.current[route.port] = route

    def in_flight(self, port: int, slot: str) -> int:
        """Count the open requests of a slot; each call reduces the count by one."""
        self._called("in_flight", f"{port}/{slot}")
        left = self.flying[port, slot]
        self.flying[port, slot] = max(0, left - 1)
        return left

    def detach(self, port: int, slot: str) -> None:
        """Detach a slot; if it is the live one, the port then answers 503."""
        self._called("detach", f"{port}/{slot}")
        self.flying[port, slot] = 0
        if (route := self.current.get(port)) is not None and route.slot == slot:
            del self.current[port]

    def close(self, port: int) -> None:
        """Remove the port's route, so that the port answers 503."""
        self._called("close", port)
        self.current.pop(port, None)

    def routes(self) -> dict[int, Route]:
        """Give the route of each port."""
        self._called("routes")
        return dict(self.current)

    def warm(self, warm: Warm) -> None:
        """Ask a container for old assets; the live one only after the next switch."""
        self._called("warm", f"{warm.port} {warm.address}")
        live, kept = self.current.get(warm.port), self.kept_warm.get(warm.port)
        if live is not None and live.address == warm.address and kept is not None:
            warm = replace(kept, paths=kept.paths | warm.paths)
        self.kept_warm[warm.port] = warm

    def cool(self, port: int) -> None:
        """Ask no container of the port for old assets any more."""
        self._called("cool", port)
        self.kept_warm.pop(port, None)

    def warmed(self) -> dict[int, Warm]:
        """Give the containers that are asked for old assets."""
        self._called("warmed")
        return dict(self.kept_warm)

    def serve_domains(self, domains: Mapping[str, int]) -> None:
        """Route these domains to these ports."""
        self._called("serve_domains", " ".join(domains))
        self.domains = dict(domains)

    def serve_certificates(self, certificates: Mapping[str, SecretStr]) -> None:
        """Replace the served certificates by these."""
        self._called("serve_certificates", " ".join(certificates))
        self.certificates = dict(certificates)

    def hold(self) -> None:
        """Let requests for Keystone's own address wait."""
        self._called("hold")
        self.is_held = True

    def release(self) -> None:
        """Pass requests for Keystone's own address on."""
        self._called("release")
        self.is_held = False

    def _called(self, call: str, about: object = "") -> None:
        super()._called(call, about)
        if self.down:
            raise RouterError("the router does not answer")
