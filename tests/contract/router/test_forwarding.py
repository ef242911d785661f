"""What the app is told of its visitors."""

import json
import socket
from contextlib import closing, suppress
from fcntl import ioctl
from pathlib import Path

from jobs.adapters.haproxy_router import HAProxyRouter
from jobs.adapters.ports import Route
from tests.contract.router.visits import Connection
from tests.haproxy import LOCALHOST, Upstream, running_router


class TestForwarding:
    def test_each_request_has_a_connection_of_its_own_that_the_app_cannot_close_too_soon(
        self, router: HAProxyRouter, port: int, one: Upstream
    ) -> None:
        router.switch(Route(port, "a", one.address))
        assert headers_seen(LOCALHOST, port, {})["connection"] == "close"

    def test_a_large_cookie_gets_through(
        self, router: HAProxyRouter, port: int, one: Upstream
    ) -> None:
        router.switch(Route(port, "a", one.address))
        assert headers_seen(LOCALHOST, port, {"Cookie": "x" * 24_000})["cookie"] == "x" * 24_000

    def test_a_proxy_on_this_machine_is_believed(
        self, router: HAProxyRouter, port: int, one: Upstream
    ) -> None:
        router.switch(Route(port, "a", one.address))
        seen = headers_seen(LOCALHOST, port, {"X-Forwarded-For": "203.0.113.9"})
        assert seen["x-forwarded-for"] == "203.0.113.9"
        seen = headers_seen(LOCALHOST, port, {"X-Forwarded-Proto": "https"})
        assert (seen["x-forwarded-proto"], seen["x-forwarded-for"]) == ("https", LOCALHOST)

    def test_a_visitor_from_elsewhere_cannot_claim_to_be_another(
        self, tmp_path: Path, one: Upstream
    ) -> None:
        address = own_address()
        claims = {
            "X-Forwarded-For": "127.0.0.1",
            "X-Forwarded-Proto": "https",
            "X-Forwarded-Host": "admin.example",
            "X-Forwarded-Port": "443",
            "X-Real-IP": "127.0.0.1",
            "Forwarded": "for=127.0.0.1",
            "Proxy": "http://evil.example",
        }
        with running_router(tmp_path, bind="0.0.0.0") as running:
            port = running.ports[0]
            running.adapter.switch(Route(port, "a", one.address))
            seen = headers_seen(address, port, claims)
        assert seen["x-forwarded-for"] == address
        assert seen["x-forwarded-proto"] == "http"
        assert seen["x-forwarded-host"] == seen["host"] == f"{address}:{port}"
        assert not {"x-forwarded-port", "x-real-ip", "forwarded", "proxy"} & set(seen)


def headers_seen(host: str, port: int, headers: dict[str, str]) -> dict[str, str]:
    with closing(Connection(host, port, timeout=60)) as connection:
        connection.request("GET", "/headers", headers=headers)
        found: dict[str, str] = json.loads(connection.getresponse().read())
        return found


def own_address() -> str:
    """Give an address of this machine that is not a loopback one."""
    get_address = 0x8915  # SIOCGIFADDR, from <linux/sockios.h>
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asking:
        for _, name in socket.if_nameindex():
            with suppress(OSError):
                answer = ioctl(asking, get_address, name.encode().ljust(40, b"\0"))
                address = socket.inet_ntoa(answer[20:24])
                if not address.startswith("127."):
                    return address
    raise RuntimeError("this test needs a network interface besides the loopback one, say docker0")
