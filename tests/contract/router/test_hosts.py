"""Which hosts and targets the router accepts, and in which form an app gets them."""

import pytest

from tests.contract.router.raw import Http2, Mirror, Way, status
from tests.contract.router.visits import wait_for

BAD = [
    "{}:80@evil", "evil@{}", "{}@evil", "evil/.{w}", "evil/{}", "{}/evil", "evil?.{w}", "evil#.{w}",
    "evil\\.{w}", "{} evil", "{},evil", "{}, {}", "{};evil", '"{}"', "'{}'", "{}:", "{}:0",
    "{}:65536", "{}:999999", "{}:80:80", "{}:eighty", "{}:-1", "{}:+80", "{}:8 0", ".{}", "..{w}",
    "a..{w}", "{}..", "%65vil.{w}", "evil%00.{w}", "evil\x00.{w}", "evil\t.{w}", "evil\x7f.{w}",
    "\xe9vil.{w}", "http://{}", "//{}", "*.{w}", "[::1", "::1", "[evil]", "[::1].{w}",
    "{}:080", "[fe80::1%25x]", "${{HOST}}.{w}", "<b>.{w}", "evil\r\n .{w}", "", " ",
]  # fmt: skip


@pytest.mark.parametrize("form", [*BAD, "a" * 300 + ".{w}", "a." * 5000 + "{w}"])
def test_an_invalid_host_is_refused(app: Mirror, way: Way, form: str) -> None:
    host = form.format(way.host, way.host, w=way.wildcard).encode("latin-1")
    answer = way.get(host=host)
    assert status(answer) == 400
    assert b"evil" not in answer
    assert app.seen == []


@pytest.mark.parametrize(
    ("form", "passed_on"),
    [
        ("{}", "{}"),
        ("APP.{u}", "app.{w}"),
        ("{}.", "{}"),
        ("{}:8080", "{}:8080"),
        ("APP.{u}.:65535", "app.{w}:65535"),
        ("any-thing.{w}", "any-thing.{w}"),
        ("Any_Thing.{u}.", "any_thing.{w}"),
        (" \t{} \t", "{}"),
    ],
)
def test_an_app_gets_the_normalised_host(app: Mirror, way: Way, form: str, passed_on: str) -> None:
    names = {"w": way.wildcard, "u": way.wildcard.upper()}
    assert status(way.get(host=form.format(way.host, **names).encode())) == 200
    expected = passed_on.format(way.host, **names).encode()
    assert app.values(b"host") == app.values(b"x-forwarded-host") == [expected]


@pytest.mark.parametrize("host", [b"127.0.0.1", b"127.0.0.1:20000", b"[::1]:20000", b"[fd00::2]"])
def test_an_apps_own_port_may_be_reached_by_an_address(
    app: Mirror, ways: dict[str, Way], host: bytes
) -> None:
    assert status(ways["port"].get(host=host)) == 200
    assert app.values(b"host") == [host]
    assert {status(ways[name].get(host=host)) for name in ("http", "https")} == {421}


def test_requests_with_two_hosts_never_reach_an_app(app: Mirror, way: Way) -> None:
    assert status(way.get(b"Host: evil.example", host=way.host.encode())) == 400
    assert status(way.get(b"host: " + way.host.upper().encode())) in {200, 400}
    assert all(request.lower().count(b"\r\nhost:") == 1 for request in app.seen)


def test_a_request_without_a_host_reaches_only_an_apps_own_port(
    app: Mirror, ways: dict[str, Way]
) -> None:
    old = b"GET / HTTP/1.0\r\n\r\n"
    assert [status(way.send(old)) for way in ways.values()] == [200, 400, 400]
    assert app.values(b"host") == app.values(b"x-forwarded-host") == []
    new = b"GET / HTTP/1.1\r\nConnection: close\r\n\r\n"
    assert [status(way.send(new)) for way in ways.values()] == [400, 400, 400]


@pytest.mark.parametrize(
    ("target", "passed_on"),
    [
        ("http://{}/a?b=c", b"/a?b=c"),
        ("https://{}/a", b"/a"),
        ("http://user:word@{}/a", b"/a"),
        ("http://evil.example/a", None),
        ("//evil.example/a", b"//evil.example/a"),
        ("evil", None),
        ("@evil/", None),
        ("*", None),
    ],
)
def test_a_target_cannot_name_another_host(
    app: Mirror, way: Way, target: str, passed_on: bytes | None
) -> None:
    answer = way.get(target=target.format(way.host).encode())
    if passed_on is None:
        assert (status(answer), app.seen) == (400, [])
        return
    assert status(answer) == 200
    assert app.lines()[0] == b"GET " + passed_on + b" HTTP/1.1"
    assert app.values(b"host") == [way.host.encode()]


def test_a_host_that_only_the_target_names_is_not_enough(app: Mirror, way: Way) -> None:
    request = f"GET http://{way.host}/ HTTP/1.1\r\nConnection: close\r\n\r\n"
    answer = status(way.send(request.encode()))
    assert answer in {200, 400}  # newer HAProxys set Host from the target
    assert [b"host: " + way.host.encode() in request for request in app.seen] == (
        [True] * (answer == 200)
    )


def test_options_for_the_whole_server_is_allowed(app: Mirror, way: Way) -> None:
    head = f"OPTIONS * HTTP/1.1\r\nHost: {way.host}\r\nConnection: close\r\n\r\n"
    assert status(way.send(head.encode())) == 200
    assert app.lines()[0] == b"OPTIONS * HTTP/1.1"


def test_the_router_makes_no_tunnels(app: Mirror, way: Way) -> None:
    named = f"{way.host}:80"
    head = f"CONNECT {named} HTTP/1.1\r\nHost: {named}\r\nConnection: close\r\n\r\n"
    assert status(way.send(head.encode())) == 405
    assert app.seen == []


def test_a_redirect_uses_the_normalised_host(ways: dict[str, Way]) -> None:
    http, https = ways["http"], ways["https"]
    for host, name in (
        ("APP.example.com.:80", "app.example.com"),
        ("Any.Example.com:81", "any.example.com"),
    ):
        answer = http.get(host=host.encode(), target=b"//evil.example/a?b")
        assert status(answer) == 308
        assert f"\nlocation: https://{name}:{https.port}//evil.example/a?b\r\n".encode() in answer
    for bad in (b"app.example.com:80@evil", b"evil/.example.com"):
        assert status(http.get(host=bad)) == 400


class TestHttp2:
    """HTTP/2 uses the authority in place of Host."""

    @pytest.mark.parametrize(
        "authority", ["evil@app.example.com", "app.example.com:80@evil", "evil/.example.com", ""]
    )
    def test_an_invalid_authority_is_refused(
        self, app: Mirror, secure_way: Way, authority: str
    ) -> None:
        with Http2(secure_way) as browser:
            # Newer HAProxys reset the stream instead of answering.
            assert browser.status(browser.ask(authority=authority)) in {0, 400}
        assert app.seen == []

    @pytest.mark.parametrize("host", ["evil.example", "app.example.com", "evil/.example.com"])
    def test_a_host_beside_the_authority_is_not_passed_on(
        self, app: Mirror, secure_way: Way, host: str
    ) -> None:
        with Http2(secure_way) as browser:
            stream = browser.ask([(b"host", host.encode())], authority="APP.example.com:8443")
            browser.status(stream)
        assert all(app.values(b"host") == [b"app.example.com:8443"] for _ in app.seen)

    def test_connect_is_allowed_for_websockets_only(self, app: Mirror, secure_way: Way) -> None:
        named = (b":authority", secure_way.host.encode())
        connect = [(b":method", b"CONNECT"), named]
        with Http2(secure_way) as browser:
            assert browser.status(browser.send(connect)) == 405
        assert app.seen == []
        websocket = [(b":protocol", b"websocket"), (b":path", b"/ws"), (b":scheme", b"https")]
        version = (b"sec-websocket-version", b"13")
        with Http2(secure_way) as browser:
            browser.send([*connect, *websocket, version], ends=False)
            wait_for(lambda: app.seen)
        assert app.lines()[0] == b"GET /ws HTTP/1.1"
        assert app.values(b"upgrade") == [b"websocket"]
        assert app.values(b"connection") == [b"Upgrade"]
