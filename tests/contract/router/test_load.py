"""Swaps under load: no request fails, and none is sent twice."""

import http.client
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from hashlib import sha256

from jobs.adapters.haproxy.router import HAProxyRouter
from jobs.rules.container_values import Route
from tests.contract.router.visits import Connection, wait_for
from tests.haproxy import LOCALHOST, Upstream


@dataclass
class Load:
    """Visitors of every kind that send requests until told to stop, and their results."""

    port: int
    seen: Counter[str] = field(default_factory=Counter)
    failed: list[str] = field(default_factory=list)
    sent: list[str] = field(default_factory=list)
    _over: threading.Event = field(default_factory=threading.Event)

    @contextmanager
    def running(self) -> Iterator[None]:
        kinds = [self._stays, self._stays, self._comes_and_goes, self._is_slow, self._is_slow]
        kinds += [self._posts, self._posts]
        visitors = [threading.Thread(target=kind) for kind in kinds]
        for visitor in visitors:
            visitor.start()
        try:
            yield
        finally:
            self._over.set()
            for visitor in visitors:
                visitor.join(timeout=90)

    def _stays(self) -> None:
        self._repeat("GET", "/")

    def _is_slow(self) -> None:
        self._repeat("GET", "/slow")

    def _posts(self) -> None:
        self._repeat("POST", "/")

    def _comes_and_goes(self) -> None:
        self._repeat("GET", "/", stays=False)

    def _repeat(self, method: str, path: str, *, stays: bool = True) -> None:
        with closing(Connection(LOCALHOST, self.port, timeout=60)) as connection:
            while not self._over.is_set():
                try:
                    self._once(connection, method, path)
                except (OSError, http.client.HTTPException) as exc:
                    self.failed.append(f"{method} {path}: {exc!r}")
                    connection.close()
                if not stays:
                    connection.close()

    def _once(self, connection: Connection, method: str, path: str) -> None:
        body = None
        if method == "POST":
            body = f"{threading.get_ident()} {time.monotonic_ns()}".encode()
            self.sent.append(sha256(body).hexdigest())
        connection.request(method, path, body=body)
        answer = connection.getresponse()
        text = answer.read().decode()
        if answer.status == 200:
            self.seen[text] += 1
        else:
            self.failed.append(f"{method} {path}: {answer.status} {text}")


class TestUnderLoad:
    def test_twenty_swaps_lose_no_request_and_send_none_twice(
        self, router: HAProxyRouter, port: int
    ) -> None:
        upstreams = [Upstream(f"v{number}") for number in range(21)]
        load = Load(port)
        router.switch(Route(port, "a", upstreams[0].address))
        with load.running():
            for number in range(1, len(upstreams)):
                # Each version answers at least one request before it is replaced.
                wait_for(lambda: load.seen[upstreams[number - 1].name])  # noqa: B023 — at once
                self._swap(router, port, number, upstreams)
            wait_for(lambda: load.seen[upstreams[-1].name])
        upstreams[-1].stop()

        assert load.failed == []
        assert set(load.seen) == {upstream.name for upstream in upstreams}
        received = [body for upstream in upstreams for body in upstream.posted]
        assert sorted(received) == sorted(load.sent)

    def _swap(
        self, router: HAProxyRouter, port: int, number: int, upstreams: list[Upstream]
    ) -> None:
        """Do the steps of a deployment: switch, drain, detach, end the old version."""
        new, old = ("b", "a") if number % 2 else ("a", "b")
        router.switch(Route(port, new, upstreams[number].address))
        wait_for(lambda: router.in_flight(port, old) == 0)
        router.detach(port, old)
        upstreams[number - 1].stop()

    def test_a_big_body_arrives_whole(
        self, router: HAProxyRouter, port: int, one: Upstream
    ) -> None:
        router.switch(Route(port, "a", one.address))
        body = bytes(range(256)) * 80_000
        with closing(Connection(LOCALHOST, port, timeout=60)) as connection:
            connection.request("POST", "/", body=body)
            assert connection.getresponse().status == 200
        assert one.posted == [sha256(body).hexdigest()]
