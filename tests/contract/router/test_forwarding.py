"""Which headers about a visitor reach the app, and who may set them."""

import ipaddress
import socket
from collections.abc import Iterator
from contextlib import closing, suppress
from fcntl import ioctl
from pathlib import Path

import pytest

from jobs.adapters.haproxy.frontends import Policy
from jobs.adapters.haproxy.router import HAProxyRouter
from jobs.rules.container_values import Route
from tests.contract.router.conftest import House, house
from tests.contract.router.raw import Http2, Mirror, Way, status
from tests.haproxy import LOCALHOST, PLACES, running_router

STRANGER = "127.0.0.2"  # not trusted when 127.0.0.1 is a trusted proxy
TRUSTED = (
    ipaddress.ip_network("127.0.0.1/32"),
    # More than fits on one line of HAProxy's configuration.
    *(ipaddress.ip_network(f"203.0.113.{number}/32") for number in range(100)),
    ipaddress.ip_network("2001:db8::/32"),
)
CLAIMS = [
    b"X-Forwarded-For: 203.0.113.9", b"X-Forwarded-Proto: https", b"X-Forwarded-Host: evil.example",
    b"X-Forwarded-Port: 443", b"X-Forwarded-Server: evil", b"X-Forwarded-Scheme: https",
    b"X-Forwarded-Ssl: on", b"X-Forwarded-Protocol: https", b"X-Forwarded-Prefix: /evil",
    b"X-Forwarded-Anything: 1", b"X-Forwarded: for=203.0.113.9", b"Forwarded: for=203.0.113.9",
    b"Forwarded-For: 203.0.113.9", b"X-Real-IP: 203.0.113.9", b"X-Client-IP: 203.0.113.9",
    b"Client-IP: 203.0.113.9", b"ClientIP: 203.0.113.9", b"X-Azure-ClientIP: 203.0.113.9",
    b"True-Client-IP: 203.0.113.9", b"CF-Connecting-IP: 203.0.113.9", b"X-Cluster-Client-IP: 9",
    b"Fastly-Client-IP: 203.0.113.9", b"DO-Connecting-IP: 203.0.113.9", b"X-Anything-IP: 1",
    b"X-Original-URL: /evil", b"X-Original-URI: /evil", b"X-Original-Host: evil.example",
    b"X-Original-For: 203.0.113.9", b"X-Original-Proto: https", b"X-Rewrite-URL: /evil",
    b"X-Host: evil.example", b"X-HTTP-Host-Override: evil.example", b"X-Scheme: https",
    b"X-Url-Scheme: https", b"Front-End-Https: on", b"Proxy: http://evil.example",
]  # fmt: skip
# CGI, WSGI, Rack and PHP read all of these as the same name.
SPELLINGS = [
    b"X_Forwarded_For", b"X-Forwarded_For", b"X_Forwarded-For", b"x_real_ip", b"X-Real_IP",
    b"X_Forwarded_Proto", b"X_FORWARDED_HOST", b"X.Forwarded.For", b"X.Real-IP",
    b"X-Forwarded-For_", b"X~Forwarded~For", b"X!Forwarded!For", b"X*Forwarded*For",
    b"X+Real+IP", b"X|Real|IP", b"X'Real'IP", b"X`Real`IP", b"X^Real^IP", b"X#Real#IP",
    b"X%Real%IP", b"X&Real&IP", b"Transfer_Encoding", b"HTTP_PROXY", b"REMOTE_ADDR", b"_", b".",
    b"_X-Forwarded-For", b"Content_Length", b"X$Real$IP",
]  # fmt: skip
HARMLESS = [
    b"X-Requested-With: fetch", b"X-Api-Key: k", b"Authorization: Bearer x", b"X-Zip: 1",
    b"X-Original-Filename: a.txt", b"X-Forward: 1", b"Proxy-Hint: 1", b"X-Skip: yes", b"ip: 1",
    b"X-Scheme-Name: a", b"X-Host-Name: a", b"Via: 1.1 somebody", b"X1-2a: 3", b"Origin: null",
]  # fmt: skip


def usual(way: Way) -> None:
    """Send a request as a browser does, over a connection that stays."""
    with closing(way.connect()) as connection:
        named = way.host.encode()
        connection.sendall(
            b"GET /a?b=c HTTP/1.1\r\nHost: " + named + b"\r\nUser-Agent: Browser/1.0\r\n"
            b"Accept: */*\r\nConnection: keep-alive\r\nCookie: a=b\r\n\r\n"
        )
        assert status(connection.recv(65536)) == 200


def test_the_app_learns_the_same_of_a_usual_request_as_of_any_other(app: Mirror, way: Way) -> None:
    usual(way)
    others = app.seen.copy()
    app.seen.clear()
    way.get(b"User-Agent: Browser/1.0", b"Accept: */*", b"Cookie: a=b", target=b"/a?b=c")
    others += app.seen
    first, second = (sorted(each.split(b"\r\n")) for each in others)
    assert first == second


@pytest.mark.parametrize("claim", CLAIMS)
def test_a_stranger_cannot_speak_as_a_proxy_does(app: Mirror, way: Way, claim: bytes) -> None:
    name, _, value = claim.lower().partition(b": ")
    assert status(way.get(claim, claim.upper())) == 200
    assert b"evil" not in app.seen[0].lower().replace(b"\r\nhost: evil", b"")
    assert app.values(name) == told(way).get(name, [])
    assert value not in app.values(name)[:-1]
    assert {key: app.values(key) for key in told(way)} == told(way)


def told(way: Way) -> dict[bytes, list[bytes]]:
    """Give the headers that the router sets for an untrusted visitor."""
    return {
        b"x-forwarded-for": [LOCALHOST.encode()],
        b"x-forwarded-proto": [b"https" if way.trust else b"http"],
        b"x-forwarded-host": [way.host.encode()],
    }


@pytest.mark.parametrize("name", SPELLINGS)
def test_no_other_spelling_of_a_proxy_header_gets_through(
    app: Mirror, way: Way, name: bytes
) -> None:
    assert status(way.get(name + b": planted")) == 200
    assert b"planted" not in app.seen[0]


def test_http_2_passes_no_other_spellings_of_proxy_headers_either(
    app: Mirror, secure_way: Way
) -> None:
    with Http2(secure_way) as browser:
        planted = [(name.lower(), b"planted") for name in SPELLINGS]
        claims = [(line.lower().partition(b": ")[0], b"planted") for line in CLAIMS]
        assert browser.status(browser.ask([*planted, *claims])) == 200
    assert b"planted" not in app.seen[0]


def test_everything_else_reaches_the_app(app: Mirror, way: Way) -> None:
    assert status(way.get(*HARMLESS)) == 200
    pairs = [line.partition(b": ") for line in HARMLESS]
    assert {name: app.values(name.lower()) for name, _, _ in pairs} == {
        name: [value] for name, _, value in pairs
    }


def test_a_large_cookie_gets_through(app: Mirror, way: Way) -> None:
    assert status(way.get(b"Cookie: " + b"x" * 24_000)) == 200
    assert app.values(b"cookie") == [b"x" * 24_000]


class TestConnections:
    """A connection stays HTTP, and no visitor can make a header hop-by-hop."""

    @pytest.mark.parametrize("named", [b"X-Forwarded-For", b"close, Host, Cookie", b"x-api-key"])
    def test_a_visitor_cannot_make_the_next_proxy_drop_a_header(
        self, app: Mirror, way: Way, named: bytes
    ) -> None:
        assert status(way.get(b"Connection: " + named)) == 200
        assert app.values(b"connection") == []

    @pytest.mark.parametrize(
        "upgrade", [b"h2c", b"H2C", b"TLS/1.0", b"websocket, h2c", b"h2c, websocket", b"spdy/3.1"]
    )
    def test_no_upgrade_but_a_websocket_is_passed_on(
        self, app: Mirror, way: Way, upgrade: bytes
    ) -> None:
        way.get(
            b"Connection: Upgrade, HTTP2-Settings",
            b"HTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA",
            b"Upgrade: " + upgrade,
        )
        for request in app.seen:
            assert b"upgrade" not in request.lower()
            assert b"http2-settings" not in request.lower()


class TestBodies:
    """Only one header says where a request ends."""

    @pytest.mark.parametrize(
        "lines",
        [
            (b"Content-Length: 5", b"Content-Length: 6"),
            (b"Content-Length: 5, 6",),
            (b"Content-Length: +5",),
            (b"Content-Length: -1",),
            (b"Content-Length: 0x5",),
            (b"Transfer-Encoding: xchunked",),
            (b"Transfer-Encoding: chunked, identity",),
            (b"Transfer-Encoding: \x0bchunked",),
            (b"Transfer-Encoding: identity",),
            (b"Transfer-Encoding : chunked",),
            (b"Content-Length : 5",),
            (b" Content-Length: 5",),
            (b": 5",),
        ],
    )
    def test_ambiguous_body_lengths_are_refused(
        self, app: Mirror, way: Way, lines: tuple[bytes, ...]
    ) -> None:
        answer = way.send(post(way, *lines) + b"0\r\n\r\n")
        assert status(answer) in {0, 400, 413, 422, 501}
        assert app.seen == []

    def test_with_both_length_and_chunks_an_app_sees_only_the_chunks(
        self, app: Mirror, way: Way
    ) -> None:
        way.send(post(way, b"Content-Length: 5", b"Transfer-Encoding: chunked") + b"0\r\n\r\n")
        for request in app.seen:
            assert b"content-length" not in request.lower()
            assert request.lower().count(b"transfer-encoding: chunked") == 1

    def test_a_request_hidden_in_a_body_stays_in_it(self, app: Mirror, way: Way) -> None:
        hidden = b"GET /hidden HTTP/1.1\r\nHost: evil.example\r\n\r\n"
        chunk = b"%x\r\n%s\r\n0\r\n\r\n" % (len(hidden), hidden)
        way.send(post(way, b"Transfer-Encoding: chunked") + chunk)
        (request,) = app.seen
        assert request.startswith(b"POST / ")

    def test_trailers_are_dropped_by_haproxy_versions_that_can(
        self, app: Mirror, shared_house: House, way: Way
    ) -> None:
        body = b"2\r\nok\r\n0\r\nX-Forwarded-For: planted\r\n\r\n"
        way.send(post(way, b"Transfer-Encoding: chunked") + body)
        major, minor = shared_house.router.adapter.version().split(".")[:2]
        assert (b"planted" in app.seen[0]) == ((int(major), int(minor)) < (3, 2))


def post(way: Way, *lines: bytes) -> bytes:
    head = [b"POST / HTTP/1.1", b"Host: " + way.host.encode(), *lines, b"Connection: close"]
    return b"\r\n".join([*head, b"", b""])


@pytest.fixture(scope="module")
def behind(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    """A router behind a proxy on this machine."""
    with house(tmp_path_factory.mktemp("behind"), policy=Policy(PLACES, TRUSTED)) as found:
        yield found


class TestTrustedProxies:
    """The router trusts the proxies named in KEYSTONE_TRUSTED_PROXIES, and no others."""

    @pytest.fixture(params=["port", "http", "https"])
    def way(self, request: pytest.FixtureRequest, behind: House) -> Way:
        behind.app.seen.clear()
        return behind.ways[request.param]

    def test_headers_of_a_trusted_proxy_reach_the_app(self, behind: House, way: Way) -> None:
        way.get(*CLAIMS)
        assert behind.app.values(b"x-forwarded-for") == [b"203.0.113.9"]
        assert behind.app.values(b"x-forwarded-proto") == [b"https"]
        assert behind.app.values(b"x-forwarded-host") == [b"evil.example"]
        assert behind.app.values(b"x-real-ip") == [b"203.0.113.9"]
        assert behind.app.values(b"proxy") == []  # only CGI programs read this name as a proxy

    def test_the_router_sets_the_headers_that_a_trusted_proxy_omits(
        self, behind: House, way: Way
    ) -> None:
        way.get()
        assert {name: behind.app.values(name) for name in told(way)} == told(way)

    def test_other_spellings_of_a_trusted_proxys_headers_are_removed(
        self, behind: House, way: Way
    ) -> None:
        way.get(*(name + b": planted" for name in SPELLINGS))
        assert b"planted" not in behind.app.seen[0]

    def test_another_program_on_this_machine_is_not_trusted(self, behind: House, way: Way) -> None:
        request = b"\r\n".join(
            [b"GET / HTTP/1.1", b"Host: " + way.host.encode(), *CLAIMS, b"Connection: close"]
        )
        assert status(way.send(request + b"\r\n\r\n", source=STRANGER)) == 200
        assert behind.app.values(b"x-forwarded-for") == [STRANGER.encode()]
        assert b"203.0.113.9" not in behind.app.seen[0]

    def test_a_visitor_with_https_at_a_trusted_proxy_is_not_redirected(self, behind: House) -> None:
        way = behind.ways["http"]
        host = b"app.example.com"
        assert status(way.get(b"X-Forwarded-Proto: https", host=host)) == 200
        assert status(way.get(b"X-Forwarded-Proto: http", host=host)) == 308


def test_untrusted_proxies_are_reported(tmp_path: Path) -> None:
    with house(tmp_path, policy=Policy(PLACES, TRUSTED)) as found:
        router, way = found.router.adapter, found.ways["port"]
        way.get(b"X-Forwarded-For: 203.0.113.9")
        way.send(b"GET / HTTP/1.0\r\n\r\n", source="127.0.0.3")
        assert router.unbelieved_proxies() == []
        way.send(b"GET / HTTP/1.0\r\nX-Forwarded-For: 203.0.113.9\r\n\r\n", source=STRANGER)
        assert router.unbelieved_proxies() == [STRANGER]


def test_an_ipv4_visitor_on_an_ipv6_socket_matches_ipv4_proxies(
    tmp_path: Path, one_app: Mirror
) -> None:
    policy = Policy(PLACES, (ipaddress.ip_network("127.0.0.1/32"),))
    with running_router(tmp_path, bind="::", policy=policy) as running:
        port = running.ports[0]
        running.adapter.switch(Route(port, "a", one_app.address))
        way = Way(port, "app.example", "example")
        way.get(b"X-Forwarded-For: 203.0.113.9")
        assert one_app.values(b"x-forwarded-for") == [b"203.0.113.9"]
        one_app.seen.clear()
        request = b"GET / HTTP/1.0\r\nX-Forwarded-For: 203.0.113.9\r\n\r\n"
        way.send(request, source=STRANGER)
        assert one_app.values(b"x-forwarded-for")[0].endswith(STRANGER.encode())


@pytest.fixture
def one_app() -> Iterator[Mirror]:
    with Mirror() as app:
        yield app


def test_a_visitor_from_elsewhere_cannot_claim_to_be_another(
    tmp_path: Path, one_app: Mirror
) -> None:
    address = own_address()
    with running_router(tmp_path, bind=address) as running:
        port = running.ports[0]
        running.adapter.switch(Route(port, "a", one_app.address))
        with socket.create_connection((address, port), 60) as connection:
            head = [f"GET / HTTP/1.1\r\nHost: {address}:{port}\r\nConnection: close".encode()]
            connection.sendall(b"\r\n".join([*head, *CLAIMS, b"", b""]))
            assert connection.recv(1000).startswith(b"HTTP/1.1 200 ")
    assert one_app.values(b"x-forwarded-for") == [address.encode()]
    assert one_app.values(b"x-forwarded-host") == [f"{address}:{port}".encode()]
    assert b"203.0.113.9" not in one_app.seen[0]


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


def test_the_router_tells_which_configuration_it_has(router: HAProxyRouter) -> None:
    assert router.is_current()
