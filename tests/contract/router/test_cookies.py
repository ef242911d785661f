"""Keystone's session cookies reach no app, and no app can set one."""

import base64
import os
import re
from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jobs.rules.naming import session_cookie
from tests.contract.router.conftest import House
from tests.contract.router.raw import Http2, Mirror, Way, accepted, status

SECRET = b"s3cret-of-the-dashboard"
OURS, SECURE = (session_cookie("abcdef", is_secure=safe).encode() for safe in (False, True))
OLD = b"keystone_session"
NAMES = [OURS, SECURE, OLD, b"__Host-" + OLD, b"__Secure-" + OURS, OURS.upper(), OLD + b"_zyxwvu"]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    ("sent", "passed_on"),
    [
        (b"{}", None),
        (b"{}; a=1", b"a=1"),
        (b"a=1; {}", b"a=1"),
        (b"a=1; {}; b=2", b"a=1; b=2"),
        (b"{}; a=1; {}; b=2; {}", b"a=1; b=2"),
        (b"{}; {}; {}; a=1", b"a=1"),
        (b"a=1;{};b=2", b"a=1;b=2"),
        (b"a=1 ;  \t {} \t ; b=2", b"a=1 ; b=2"),
        (b"a=1;; {};; b=2;", b"a=1;;; b=2"),
        (b'a="1; {}; b=2"', b'a="1; b=2"'),
        (b'a=1; {}"; b=2', b"a=1; b=2"),
        (b"a==; {}=; b", b"a==; b"),
        (b"; ; {}", None),
    ],
)
def test_session_cookies_are_removed_from_requests(
    app: Mirror, way: Way, name: bytes, sent: bytes, passed_on: bytes | None
) -> None:
    line = b"Cookie: " + sent.replace(b"{}", name + b"=" + SECRET)
    assert status(way.get(line)) == 200
    assert SECRET not in app.seen[0]
    assert app.values(b"cookie") == ([] if passed_on is None else [passed_on])


OTHERS = [
    b"a=1", b"", b" ", b";", b"a=1; b=2;", b"  a = 1 ;b", b"session=keystone_session",
    b"my_keystone_session=1", b"keystone=1", b"keystone-session=1", b"a=1; my.keystone_session=2",
    b"a=\xff\xfe; b=\xe2\x82\xac", b'a="x, y"', b"a=b, keystone_session=c",
    b"; ".join(b"c%d=%d" % (number, number) for number in range(400)), b"a=" + b"x" * 24_000,
]  # fmt: skip


@pytest.mark.parametrize("cookies", OTHERS)
def test_other_cookies_pass_byte_for_byte(app: Mirror, way: Way, cookies: bytes) -> None:
    assert status(way.get(b"Cookie: " + cookies)) == 200
    assert app.values(b"cookie") == [cookies.strip(b" ")]


ODD_NAMES = st.sampled_from([name.decode() for name in NAMES]) | st.text("aK_-.=\t ", max_size=9)
VALUES = st.text('ab=" \t,\\%', max_size=9)
COOKIES = st.lists(st.tuples(ODD_NAMES, st.sampled_from(["=", "", " = "]), VALUES), max_size=12)


@settings(max_examples=150, deadline=None)
@given(cookies=COOKIES, between=st.sampled_from([";", "; ", " ;\t", ";;"]))
def test_of_any_cookie_header_only_the_session_cookies_are_removed(
    shared_house: House, cookies: list[tuple[str, str, str]], between: str
) -> None:
    app, way = shared_house.app, shared_house.ways["port"]
    app.seen.clear()
    sent = between.join("".join(cookie) for cookie in cookies)
    assert status(way.get(b"Cookie: " + sent.encode())) == 200
    passed_on = ";".join(value.decode() for value in app.values(b"cookie"))
    assert pieces(passed_on) == [each for each in pieces(sent) if not IS_OURS.match(each)]


IS_OURS = re.compile(r"(__[a-z]+-)?keystone_session", re.IGNORECASE)


def pieces(cookies: str) -> list[str]:
    """Give the cookies of a header, without the spaces around them."""
    return [each.strip(" \t") for each in cookies.split(";") if each.strip(" \t")]


def test_any_number_of_session_cookies_is_removed(app: Mirror, way: Way) -> None:
    """A browser of a person who tries out many Keystones has that many cookies."""
    many = [b"__Host-keystone_session_%06d=" % number + SECRET for number in range(400)]
    assert status(way.get(b"Cookie: a=1; " + b"; ".join(many) + b"; b=2")) == 200
    assert SECRET not in app.seen[0]
    assert app.values(b"cookie") == [b"a=1; b=2"]


@pytest.mark.parametrize(
    ("lines", "passed_on"),
    [
        ([OURS + b"=" + SECRET, b"a=1"], [b"a=1"]),
        ([b"a=1", OURS + b"=" + SECRET], [b"a=1"]),
        ([b"a=1", b"b=2; " + OURS + b"=" + SECRET, b"c=3"], [b"a=1; b=2; c=3"]),
        ([b"", OURS + b"=" + SECRET, b"", SECURE + b"=" + SECRET], []),
        ([b"a=1", b"b=2"], [b"a=1", b"b=2"]),
    ],
)
def test_session_cookies_on_several_lines_are_removed(
    app: Mirror, way: Way, lines: Sequence[bytes], passed_on: list[bytes]
) -> None:
    assert status(way.get(*(b"Cookie: " + line for line in lines))) == 200
    assert SECRET not in app.seen[0]
    assert [value for value in app.values(b"cookie") if value] == passed_on


def test_too_many_cookie_lines_are_refused(app: Mirror, way: Way) -> None:
    lines = [b"Cookie: a=%d" % number for number in range(6)]
    assert status(way.get(*lines)) == 200
    app.seen.clear()
    assert status(way.get(*lines, b"Cookie: " + OURS + b"=" + SECRET)) == 400
    assert app.seen == []


def test_split_cookie_headers_of_http_2_are_joined_first(app: Mirror, secure_way: Way) -> None:
    crumbs = [b"a=1", SECURE + b"=" + SECRET, b"b=2", OURS + b"=" + SECRET, b"c=3", b"d=4", b"e=5"]
    with Http2(secure_way) as browser:
        assert browser.status(browser.ask([(b"cookie", crumb) for crumb in crumbs])) == 200
    assert SECRET not in app.seen[0]
    assert app.values(b"cookie") == [b"a=1; b=2; c=3; d=4; e=5"]


PLANTED = [
    b"{}=1", b"{}=1; Path=/; HttpOnly", b"{}=1; Domain=example.com; Path=/", b" \t{} = 1", b"={}=1",
    b"= {}=1", b"==; {}=1", b"\xa0{}=1", b"\x85{}=1", b'"{}"=1', b"{}", b"{}_more=1", b";{}=1",
]  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("form", PLANTED)
def test_an_app_cannot_set_a_session_cookie(
    app: Mirror, way: Way, name: bytes, form: bytes
) -> None:
    app.adds[:] = [
        b"Set-Cookie: before=1; Path=/",
        b"Set-Cookie: " + form.replace(b"{}", name),
        b"SET-COOKIE: after=keystone_session; Domain=example.com",
        b"Set-Cookie: my_keystone_session=1",
    ]
    answer = way.get()
    assert status(answer) == 200
    lines = [line for line in answer.split(b"\r\n") if line.lower().startswith(b"set-cookie:")]
    kept = [line.partition(b":")[2].strip() for line in lines]
    assert [cookie for cookie in kept if cookie] == [
        b"before=1; Path=/",
        b"after=keystone_session; Domain=example.com",
        b"my_keystone_session=1",
    ]


def test_websocket_requests_lose_session_cookies_too(app: Mirror, way: Way) -> None:
    key = base64.b64encode(os.urandom(16))
    head = [
        b"GET /ws HTTP/1.1",
        b"Host: " + way.host.encode(),
        b"Cookie: a=1; " + OURS + b"=" + SECRET,
        b"Connection: Upgrade",
        b"Upgrade: websocket",
        b"Sec-WebSocket-Version: 13",
        b"Sec-WebSocket-Key: " + key,
    ]
    app.status = b"101 Switching Protocols"
    app.adds[:] = [
        b"Connection: Upgrade",
        b"Upgrade: websocket",
        b"Sec-WebSocket-Accept: " + accepted(key),
        b"Set-Cookie: " + OURS + b"=planted",
    ]
    connection = way.connect()
    connection.sendall(b"\r\n".join([*head, b"", b""]))
    answer = connection.recv(65536)
    connection.close()
    assert status(answer) == 101
    assert b"planted" not in answer
    assert SECRET not in app.seen[0]
    assert app.values(b"cookie") == [b"a=1"]
