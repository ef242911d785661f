"""The router's contract for domains and certificates, on real HAProxy processes."""

import json
import socket
import ssl
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from hashlib import sha256
from http.client import HTTPConnection, HTTPException
from ipaddress import ip_network
from pathlib import Path

import pytest
from pydantic import SecretStr

from jobs.adapters.haproxy.frontends import DomainDoors, Policy
from jobs.adapters.haproxy.router import HAProxyRouter
from jobs.errors import RouterError
from jobs.rules.container_values import Route
from tests.certificates import Authority
from tests.haproxy import LOCALHOST, PLACES, RunningRouter, Upstream, free_ports, running_router

Answer = tuple[int, str]
WEB, SHOP = "web.example.com", "shop.example.com"
REFUSED = (421, "No app here has this domain.\n")


@pytest.fixture(scope="module")
def authority() -> Authority:
    return Authority()


@pytest.fixture
def running(tmp_path: Path) -> Iterator[RunningRouter]:
    http_port, https_port = free_ports(2)
    doors = DomainDoors(LOCALHOST, http=http_port, https=https_port)
    # The router trusts these visitors' headers, so they can claim to use HTTPS at a proxy.
    policy = Policy(PLACES, (ip_network(f"{LOCALHOST}/32"),))
    with running_router(tmp_path, doors=doors, policy=policy) as router:
        yield router


@pytest.fixture
def router(running: RunningRouter) -> HAProxyRouter:
    return running.adapter


@pytest.fixture
def web(running: RunningRouter) -> Iterator[int]:
    """The port of a live app."""
    with Upstream("web") as upstream:
        running.adapter.switch(Route(running.ports[0], "a", upstream.address))
        yield running.ports[0]


@pytest.fixture
def shop(running: RunningRouter) -> Iterator[int]:
    """The port of another live app."""
    with Upstream("shop") as upstream:
        running.adapter.switch(Route(running.ports[1], "a", upstream.address))
        yield running.ports[1]


class Visitor:
    """A client that connects to the router for every host name."""

    def __init__(self, doors: DomainDoors, authority: Authority) -> None:
        assert doors.http is not None
        assert doors.https is not None
        self.http_port, self.https_port = doors.http, doors.https
        self._trust = authority.trust

    def http(self, host: str, path: str = "/", **headers: str) -> Answer:
        connection = HTTPConnection(LOCALHOST, self.http_port, timeout=60)
        return self._ask(connection, host, path, headers)

    def https(self, host: str, path: str = "/", *, name: str = "", **headers: str) -> Answer:
        """Send a request by HTTPS; `name` is the TLS server name, by default the host."""
        connection = HTTPConnection(LOCALHOST, self.https_port, timeout=60)
        connection.sock = self.handshake(name or host.partition(":")[0])
        return self._ask(connection, host, path, headers)

    def handshake(self, name: str | None) -> ssl.SSLSocket:
        plain = socket.create_connection((LOCALHOST, self.https_port), timeout=60)
        try:
            return self._trust.wrap_socket(plain, server_hostname=name)
        except Exception:
            plain.close()
            raise

    def is_refused(self, name: str) -> bool:
        """Whether the handshake fails because the router has no certificate for the name."""
        try:
            self.handshake(name).close()
        except ssl.SSLCertVerificationError:
            return False
        except ssl.SSLError:
            return True
        return False

    def shown(self, name: str) -> bytes:
        """Give the fingerprint of the certificate that the router sends."""
        with closing(self.handshake(name)) as connection:
            return sha256(connection.getpeercert(binary_form=True) or b"").digest()

    def _ask(
        self,
        connection: HTTPConnection,
        host: str,
        path: str,
        headers: dict[str, str],
    ) -> Answer:
        with closing(connection):
            sent = {name.replace("_", "-"): value for name, value in headers.items()}
            connection.request("GET", path, headers={**sent, "Host": host})
            answer = connection.getresponse()
            return answer.status, answer.headers.get("Location") or answer.read().decode()


@pytest.fixture
def visitor(running: RunningRouter, authority: Authority) -> Visitor:
    return Visitor(running.doors, authority)


class TestDomains:
    def test_two_apps_are_told_apart_by_their_hosts(
        self, router: HAProxyRouter, visitor: Visitor, web: int, shop: int
    ) -> None:
        router.serve_domains({WEB: web, SHOP: shop, "other.example.org": shop})
        assert visitor.http(WEB) == (200, "web")
        assert visitor.http(SHOP) == (200, "shop")
        assert visitor.http("other.example.org") == (200, "shop")

    @pytest.mark.parametrize(
        "host",
        ["example.com", "x.web.example.com", LOCALHOST, "[::1]:80", "", "web.example.com:80:80",
         "web.example.com, shop.example.com", "port_20000", "20000"],
    )  # fmt: skip
    def test_a_host_that_no_app_has_is_refused(
        self, router: HAProxyRouter, visitor: Visitor, web: int, shop: int, host: str
    ) -> None:
        router.serve_domains({WEB: web, SHOP: shop})
        assert visitor.http(host)[0] in {400, 421}

    def test_the_refusal_is_a_plain_sentence(self, visitor: Visitor) -> None:
        assert visitor.http(WEB) == REFUSED

    @pytest.mark.parametrize("host", ["WEB.Example.COM", f"{WEB}:8080", f"{WEB}.", f"{WEB}.:80"])
    def test_case_port_and_final_dot_of_a_host_do_not_matter(
        self, router: HAProxyRouter, visitor: Visitor, web: int, host: str
    ) -> None:
        router.serve_domains({WEB: web})
        assert visitor.http(host) == (200, "web")

    def test_a_wildcard_matches_one_label_and_an_exact_name_takes_precedence(
        self, router: HAProxyRouter, visitor: Visitor, web: int, shop: int
    ) -> None:
        router.serve_domains({"*.example.com": web, SHOP: shop})
        assert visitor.http("anything.example.com") == (200, "web")
        assert visitor.http(SHOP) == (200, "shop")
        assert visitor.http("example.com") == REFUSED
        assert visitor.http("a.b.example.com") == REFUSED

    def test_domains_move_and_disappear(
        self, router: HAProxyRouter, visitor: Visitor, web: int, shop: int
    ) -> None:
        router.serve_domains({WEB: web, SHOP: shop})
        router.serve_domains({WEB: shop})
        assert visitor.http(WEB) == (200, "shop")
        assert visitor.http(SHOP) == REFUSED
        router.serve_domains({})
        assert visitor.http(WEB) == REFUSED

    def test_serving_the_same_again_changes_nothing(
        self, router: HAProxyRouter, visitor: Visitor, web: int
    ) -> None:
        for _ in range(3):
            router.serve_domains({WEB: web})
        assert visitor.http(WEB) == (200, "web")
        assert router._ask("show map hosts.map").count(WEB) == 1

    def test_thousands_of_domains_are_served(
        self, router: HAProxyRouter, visitor: Visitor, web: int, shop: int
    ) -> None:
        long = "l" * 60
        router.serve_domains({f"{long}.{long}.n{n}.example.com": web for n in range(2000)})
        assert visitor.http(f"{long}.{long}.n1999.example.com") == (200, "web")
        router.serve_domains({SHOP: shop})
        assert visitor.http(f"{long}.{long}.n0.example.com") == REFUSED
        assert visitor.http(SHOP) == (200, "shop")

    def test_an_app_without_a_release_says_so(
        self, router: HAProxyRouter, running: RunningRouter, visitor: Visitor
    ) -> None:
        router.serve_domains({WEB: running.ports[2]})
        assert visitor.http(WEB) == (503, "No release of this app is live yet.\n")

    def test_an_app_gets_the_requested_host_and_scheme(
        self, router: HAProxyRouter, visitor: Visitor, authority: Authority, web: int
    ) -> None:
        router.serve_domains({WEB: web})
        seen = json.loads(visitor.http(WEB, "/headers")[1])
        assert (seen["host"], seen["x-forwarded-host"]) == (WEB, WEB)
        assert (seen["x-forwarded-proto"], seen["x-forwarded-for"]) == ("http", LOCALHOST)
        router.serve_certificates({WEB: authority.issue(WEB).bundle})
        told = visitor.https(WEB, "/headers", X_Forwarded_Proto="http")[1]
        assert json.loads(told)["x-forwarded-proto"] == "https"

    def test_a_websocket_goes_through(
        self, router: HAProxyRouter, visitor: Visitor, authority: Authority, web: int, shop: int
    ) -> None:
        router.serve_domains({WEB: web, SHOP: shop})
        router.serve_certificates({SHOP: authority.issue(SHOP).bundle})
        plain = socket.create_connection((LOCALHOST, visitor.http_port), timeout=60)
        for connection, host in ((plain, WEB), (visitor.handshake(SHOP), SHOP)):
            with closing(connection):
                upgrade(connection, host)
                connection.sendall(b"anybody there")
                assert connection.recv(100) == b"anybody there"

    @pytest.mark.parametrize("domain", ["a;shutdown", "a b", "a\nshow info", "Web.Example.Com", ""])
    def test_an_invalid_domain_never_reaches_the_router(self, tmp_path: Path, domain: str) -> None:
        router = HAProxyRouter(tmp_path / "nobody-listens")
        with pytest.raises(RouterError, match="is not a domain"):
            router.serve_domains({domain: 20000})
        with pytest.raises(RouterError, match="is not a domain"):
            router.serve_certificates({domain: SecretStr("x")})


class TestCertificates:
    def test_a_certificate_is_shown_for_its_domain_alone(
        self, router: HAProxyRouter, visitor: Visitor, authority: Authority, web: int, shop: int
    ) -> None:
        both = authority.issue(WEB, SHOP)
        router.serve_domains({WEB: web, SHOP: shop})
        router.serve_certificates({WEB: both.bundle})
        assert visitor.https(WEB) == (200, "web")
        assert visitor.is_refused(SHOP)
        assert visitor.is_refused("nobody.example.com")

    def test_a_visitor_who_names_no_domain_is_refused(
        self, router: HAProxyRouter, visitor: Visitor, authority: Authority
    ) -> None:
        router.serve_certificates({WEB: authority.issue(WEB).bundle})
        assert visitor.is_refused(LOCALHOST)

    def test_several_domains_have_certificates_of_their_own(
        self, router: HAProxyRouter, visitor: Visitor, authority: Authority, web: int, shop: int
    ) -> None:
        first, second = authority.issue(WEB), authority.issue("*.example.com")
        router.serve_domains({WEB: web, SHOP: shop})
        router.serve_certificates({WEB: first.bundle, "*.example.com": second.bundle})
        assert visitor.https(WEB) == (200, "web")
        assert visitor.https(SHOP) == (200, "shop")
        assert visitor.shown(WEB) == first.fingerprint
        assert visitor.shown(SHOP) == second.fingerprint

    def test_an_unknown_host_is_refused_behind_a_known_name_too(
        self, router: HAProxyRouter, visitor: Visitor, authority: Authority, web: int
    ) -> None:
        router.serve_domains({WEB: web})
        router.serve_certificates({WEB: authority.issue(WEB).bundle})
        assert visitor.https("evil.example.org", name=WEB) == REFUSED

    def test_http_leads_to_https_where_there_is_a_certificate(
        self, router: HAProxyRouter, visitor: Visitor, authority: Authority, web: int, shop: int
    ) -> None:
        router.serve_domains({WEB: web, SHOP: shop, "a.wild.example": web})
        certificates = {WEB: authority.issue(WEB).bundle}
        certificates["*.wild.example"] = authority.issue("*.wild.example").bundle
        router.serve_certificates(certificates)
        port = visitor.https_port
        assert visitor.http(f"{WEB}:80", "/a?b=c") == (308, f"https://{WEB}:{port}/a?b=c")
        assert visitor.http("a.wild.example") == (308, f"https://a.wild.example:{port}/")
        assert visitor.http(SHOP) == (200, "shop")
        assert visitor.http("nobody.wild.example") == REFUSED
        # A TLS proxy on this machine must not get into a loop of redirects.
        assert visitor.http(WEB, X_Forwarded_Proto="https") == (200, "web")
        router.serve_certificates({})
        assert visitor.http(WEB) == (200, "web")
        assert visitor.is_refused(WEB)

    def test_http_2_is_spoken(
        self, router: HAProxyRouter, visitor: Visitor, authority: Authority, web: int
    ) -> None:
        router.serve_domains({WEB: web})
        router.serve_certificates({WEB: authority.issue(WEB).bundle})
        trust = authority.trust
        trust.set_alpn_protocols(["h2", "http/1.1"])
        plain = socket.create_connection((LOCALHOST, visitor.https_port), timeout=60)
        with trust.wrap_socket(plain, server_hostname=WEB) as connection:
            assert connection.selected_alpn_protocol() == "h2"

    def test_a_refused_certificate_does_not_block_the_others(
        self, router: HAProxyRouter, visitor: Visitor, authority: Authority, web: int, shop: int
    ) -> None:
        router.serve_domains({WEB: web, SHOP: shop})
        before, new = authority.issue(WEB), authority.issue(SHOP)
        router.serve_certificates({WEB: before.bundle})
        with pytest.raises(RouterError, match=f"refuses the certificate of {WEB}$"):
            router.serve_certificates({WEB: SecretStr("rubbish"), SHOP: new.bundle})
        assert visitor.shown(WEB) == before.fingerprint
        assert visitor.shown(SHOP) == new.fingerprint
        router.serve_certificates({SHOP: new.bundle})
        assert visitor.is_refused(WEB)

    def test_an_unfinished_transaction_does_not_affect_the_next_one(
        self, router: HAProxyRouter, visitor: Visitor, authority: Authority
    ) -> None:
        stale, wanted = authority.issue(WEB), authority.issue(WEB)
        file = "certificates/half-done.pem"
        router._ask(
            f"new ssl cert {file}",
            f"set ssl cert {file}",
            payload=stale.bundle.get_secret_value(),
        )
        router.serve_certificates({WEB: wanted.bundle})
        assert visitor.shown(WEB) == wanted.fingerprint
        assert "half-done" not in router._ask("show ssl cert")

    def test_a_certificate_chain_is_served_completely(
        self, router: HAProxyRouter, visitor: Visitor, authority: Authority
    ) -> None:
        issued = authority.issue(WEB)
        chain = issued.bundle.get_secret_value() + authority.certificate.decode() * 40
        assert len(chain) > 20_000
        router.serve_certificates({WEB: SecretStr(chain)})
        assert visitor.shown(WEB) == issued.fingerprint


class TestWithoutDoors:
    def test_a_router_that_serves_no_domains_is_left_alone(
        self, tmp_path: Path, authority: Authority
    ) -> None:
        with running_router(tmp_path) as running:
            running.adapter.serve_domains({WEB: running.ports[0]})
            running.adapter.serve_certificates({WEB: authority.issue(WEB).bundle})

    def test_without_https_nobody_is_redirected_to_it(
        self, tmp_path: Path, authority: Authority
    ) -> None:
        (port,) = free_ports(1)
        with (
            Upstream("web") as upstream,
            running_router(tmp_path, doors=DomainDoors(LOCALHOST, http=port)) as running,
        ):
            running.adapter.switch(Route(running.ports[0], "a", upstream.address))
            running.adapter.serve_domains({WEB: running.ports[0]})
            running.adapter.serve_certificates({WEB: authority.issue(WEB).bundle})
            visitor = Visitor(DomainDoors(LOCALHOST, http=port, https=1), authority)
            assert visitor.http(WEB) == (200, "web")


class TestStarting:
    def test_a_router_that_crashed_serves_every_domain_at_once(
        self, running: RunningRouter, visitor: Visitor, authority: Authority, web: int, shop: int
    ) -> None:
        routes = running.adapter.routes()
        issued = authority.issue(WEB)
        running.kill()
        running.start(routes.values(), {WEB: web, SHOP: shop}, {WEB: issued.bundle})
        assert visitor.https(WEB) == (200, "web")
        assert visitor.http(WEB)[0] == 308
        assert visitor.http(SHOP) == (200, "shop")
        # Later changes work as if the domains had been added while it ran.
        running.adapter.serve_domains({WEB: shop})
        running.adapter.serve_certificates({WEB: issued.bundle})
        assert visitor.https(WEB) == (200, "shop")
        running.adapter.serve_certificates({})
        assert visitor.is_refused(WEB)

    def test_the_router_starts_despite_a_certificate_that_openssl_refuses(
        self, running: RunningRouter, visitor: Visitor, authority: Authority, web: int
    ) -> None:
        routes, good = running.adapter.routes(), authority.issue(WEB).bundle
        running.kill()
        running.start(routes.values(), {WEB: web}, {WEB: good, SHOP: SecretStr("rubbish")})
        assert visitor.https(WEB) == (200, "web")

    def test_keys_are_for_this_user_only(
        self, running: RunningRouter, authority: Authority
    ) -> None:
        running.kill()
        running.start(certificates={WEB: authority.issue(WEB).bundle})
        files = list((running.folder / "certificates").iterdir())
        assert len(files) == 2
        for file in [*files, running.folder / "hosts.map"]:
            assert file.stat().st_mode & 0o777 == 0o600

    def test_the_router_starts_without_warnings(self, running: RunningRouter) -> None:
        assert "WARNING" not in running._log.read_text()


@dataclass
class Load:
    """Visitors who send requests to one app in every way, and their results."""

    visitor: Visitor
    seen: Counter[Answer] = field(default_factory=Counter)
    failed: list[str] = field(default_factory=list)
    _over: threading.Event = field(default_factory=threading.Event)

    @contextmanager
    def running(self) -> Iterator[None]:
        ways = [self._by_http, self._by_https, self._by_https, self._stays]
        threads = [threading.Thread(target=way) for way in ways]
        for thread in threads:
            thread.start()
        try:
            yield
        finally:
            self._over.set()
            for thread in threads:
                thread.join(timeout=90)

    def _by_http(self) -> None:
        while not self._over.is_set():
            self._count(lambda: self.visitor.http(WEB, X_Forwarded_Proto="https"))

    def _by_https(self) -> None:
        while not self._over.is_set():
            self._count(lambda: self.visitor.https(WEB))

    def _stays(self) -> None:
        connection = HTTPConnection(LOCALHOST, self.visitor.https_port, timeout=60)
        connection.sock = self.visitor.handshake(WEB)
        with closing(connection):
            while not self._over.is_set():
                self._count(lambda: self._again(connection))

    def _again(self, connection: HTTPConnection) -> Answer:
        connection.request("GET", "/", headers={"Host": WEB})
        answer = connection.getresponse()
        return answer.status, answer.read().decode()

    def _count(self, ask: Callable[[], Answer]) -> None:
        try:
            self.seen[ask()] += 1
        except (OSError, HTTPException) as exc:
            self.failed.append(repr(exc))


class TestUnderLoad:
    def test_replacing_its_certificate_fails_no_request_of_the_domain(
        self, running: RunningRouter, visitor: Visitor, authority: Authority, web: int
    ) -> None:
        router, pid = running.adapter, process_id(running)
        router.serve_domains({WEB: web})
        router.serve_certificates({WEB: authority.issue(WEB).bundle})
        load = Load(visitor)
        with load.running():
            for _ in range(20):
                issued = authority.issue(WEB)
                router.serve_certificates({WEB: issued.bundle})
                assert visitor.shown(WEB) == issued.fingerprint
        assert load.failed == []
        assert set(load.seen) == {(200, "web")}
        assert process_id(running) == pid == running.pid

    def test_other_apps_come_and_go_without_a_failed_request(
        self, running: RunningRouter, visitor: Visitor, authority: Authority, web: int
    ) -> None:
        router, pid = running.adapter, process_id(running)
        mine = {WEB: authority.issue(WEB).bundle}
        router.serve_domains({WEB: web})
        router.serve_certificates(mine)
        load = Load(visitor)
        with load.running(), Upstream("shop") as upstream:
            port = running.ports[1]
            for _ in range(15):
                router.switch(Route(port, "a", upstream.address))
                router.serve_domains({WEB: web, SHOP: port, "*.example.org": port})
                router.serve_certificates({**mine, SHOP: authority.issue(SHOP).bundle})
                assert visitor.https(SHOP) == (200, "shop")
                router.serve_domains({WEB: web})
                router.serve_certificates(mine)
                assert visitor.http(SHOP) == REFUSED
                router.close(port)
        assert load.failed == []
        assert set(load.seen) == {(200, "web")}
        assert process_id(running) == pid == running.pid


def process_id(running: RunningRouter) -> int:
    """Read HAProxy's process id, which a reload would change."""
    lines = dict(
        line.split(": ", 1)
        for line in running.adapter._ask("show info").splitlines()
        if ": " in line
    )
    return int(lines["Pid"])


def upgrade(connection: socket.socket, host: str) -> None:
    """Upgrade a connection to a WebSocket."""
    connection.sendall(
        f"GET /ws HTTP/1.1\r\nHost: {host}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
        "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: a2V5c3RvbmUta2V5c3Rvbg==\r\n\r\n".encode()
    )
    assert connection.recv(1000).startswith(b"HTTP/1.1 101 ")
