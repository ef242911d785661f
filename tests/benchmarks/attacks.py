"""Makes hostile requests, byte by byte; the same seed makes the same requests. Pure functions.

Each request is made from the table of routes: odd URLs, odd headers, bodies that are too deep, too
long, end in half a character or are missing, and data that is not HTTP.
"""

import gzip
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from random import Random

from receiver.endpoints import ENDPOINTS
from receiver.routing import Endpoint

METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS", "TRACE", "BREW", "get")
PAGES = ("/", "/apps/{app}", "/deployments/{id}", "/deliveries", "/audit", "/login", "/static/{x}")
ADDRESSES = (*dict.fromkeys(endpoint.path for endpoint in ENDPOINTS), *PAGES)
# A login takes 0.1 s on purpose, and a stream has no end: only random choices reach them.
CHANGES = [each for each in ENDPOINTS if each.method != "GET" and each.path != "/login"]
ODD_WORDS = (
    *("web", "1", "", "0", "-1", "9" * 40, "null", "%", "%zz", "%00", "%ff%fe", "%c0%ae%c0%ae"),
    *("..", "..%2f..%2fetc%2fpasswd", "%2e%2e/%2e%2e", "a" * 3000, "%E2%80%AEtxt", "%ED%A0%80"),
    *(
        "'%20OR%201=1--",
        "$(id)",
        "%60id%60",
        "--upload-pack=id",
        "<script>",
        "{{7*7}}",
        "%0d%0ax:y",
    ),
)
ODD_QUERIES = (
    "before",
    "limit",
    "offset",
    "tail",
    "since",
    "until",
    "text",
    "state",
    "next",
    "q[]",
)
ODD_HEADERS: Mapping[str, Sequence[str]] = {
    "Host": ("[", "[::1", "a b", "", "x" * 5000, "evil.example", "@", "a:99999999"),
    "Cookie": ("keystone_session=" + "c" * 9000, "=;;=", "keystone_session=\x80", 'a="'),
    "Authorization": ("Bearer", "Bearer ks_" + "a" * 40, "Basic !!!", "Bearer \xff", "b" * 20_000),
    "Origin": ("http://[", "null", "https://evil.example", "//"),
    "Referer": ("http://[", "http://evil.example/x", "\x80"),
    "Accept": ("text/html", "*/*;q=nonsense", ""),
    "Range": ("bytes=0-0,1-1,2-2", "bytes=-" + "9" * 40, "lines=1-2"),
    "Last-Event-ID": ("9" * 13, "-1", "x"),
    "X-Forwarded-For": ("1.2.3.4, ::ffff:9, x" * 50, "[", "127.0.0.1"),
    "Content-Type": ("application/json; charset=\x80", "multipart/form-data; boundary=", "x"),
    "Content-Encoding": ("gzip", "br", "identity"),
    "Expect": ("100-continue", "200-ok"),
    "Upgrade": ("websocket", "h2c"),
    "X-Odd": ("y" * 40_000,),
}
NO_HTTP = (
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(200),
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    b"GET / HTTP/9.9\r\n\r\n",
    b"GET /\r\n\r\n",
    b"\r\n\r\n\r\n" + b"\0" * 500,
    b"GET  /  HTTP/1.1\r\nHost: x\r\n\r\n",
    b"GET / HTTP/1.1\r\nno colon here\r\n\r\n",
    b"GET / HTTP/1.1\r\n Host: folded\r\n\r\n",
    b"GET http://[ HTTP/1.1\r\nHost: x\r\n\r\n",
    b"POST /login HTTP/1.1\r\nContent-Length: -5\r\n\r\n",
    b"POST /login HTTP/1.1\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nabcdef",
    b"POST /login HTTP/1.1\r\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\nabcde",
    b"POST /login HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\nabc\r\n0\r\n\r\n",
    b"POST /login HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n" + b"f" * 40 + b"\r\n",
    b"POST /login HTTP/1.1\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
)
BROKEN_BODIES = (
    *(b"[" * 100_000, b'{"a":' * 50_000, b"{", b"\xff\xfe", b"\0" * 100, b"NaN", b"null", b"[]"),
    *(
        b'{"a":1,"a":2}',
        b'{"\\ud800":1}',
        b'{"name":"\\ud800"}',
        b"9" * 5000,
        b'"' + b"x" * 500_000,
    ),
    b"{" + b",".join(b'"k%d":1' % n for n in range(20_000)) + b"}",
)
CLAIMS = (
    b'{"repository":{"id":1,"full_name":"octo/web"}}',
    b'"repository":{"full_name":"\\u006f',
    b"%22repository%22%3A%7B%22id%22%3A",
    b'"repository" ' + b" " * 30,
    b'"full_name":"x/y",',
)
ODD_VALUES: Sequence[object] = (
    *(None, True, -1, 2**63, 10**400, 1e-320, "", "\0", "\ud800", "\u202eevil", "x" * 2000),
    *("../../etc/passwd", "$(id)", "--upload-pack=id", "http://169.254.169.254/", "https://[x"),
    *([], [[]], {}, {"": ""}, ["\0"] * 30, {"keystone.app": "web"}, [{"a": ["b"]}]),
)


@dataclass(frozen=True)
class Attack:
    """The bytes to send over one connection.

    Attributes:
        is_slow: send the last bytes at one byte per second.
        is_cut: close the connection without waiting for an answer.
    """

    kind: str
    raw: bytes
    is_slow: bool = False
    is_cut: bool = False


@dataclass(frozen=True)
class Known:
    """Credentials that an attacker may have stolen: an admin's token, and a signed push."""

    token: str
    push: bytes
    push_headers: Mapping[str, str]


def attacks(seed: int, known: Known) -> Iterator[Attack]:
    """Give an endless series of hostile requests."""
    rng = Random(seed)  # noqa: S311 — not for secrets
    while True:
        yield rng.choices(MAKERS, WEIGHTS)[0](rng, known)


def _request(
    method: str, target: str, headers: Mapping[str, str] | None = None, body: bytes = b""
) -> bytes:
    all_headers = {"Host": "localhost", "Connection": "close", **(headers or {})}
    if body:
        all_headers.setdefault("Content-Length", str(len(body)))
    lines = [f"{method} {target} HTTP/1.1", *(f"{k}: {v}" for k, v in all_headers.items())]
    return "\r\n".join([*lines, "", ""]).encode("latin-1", "replace") + body


def _address(rng: Random, path: str) -> str:
    while "{" in path:
        head, _, rest = path.partition("{")
        path = head + rng.choice(ODD_WORDS) + rest.partition("}")[2]
    return path or "/"


def _query(rng: Random) -> str:
    pairs = [f"{rng.choice(ODD_QUERIES)}={rng.choice(ODD_WORDS)}" for _ in range(rng.randrange(4))]
    return "?" + "&".join(pairs) if pairs else ""


def _bearer(known: Known) -> dict[str, str]:
    return {"Authorization": f"Bearer {known.token}"}


def _odd_address(rng: Random, known: Known) -> Attack:
    target = _address(rng, rng.choice(ADDRESSES)) + _query(rng)
    headers = _bearer(known) if rng.random() < 0.5 else {}
    return Attack("odd address", _request(rng.choice(METHODS), target, headers))


def _odd_headers(rng: Random, _known: Known) -> Attack:
    names = rng.sample(sorted(ODD_HEADERS), rng.randrange(1, 4))
    headers = {name: rng.choice(ODD_HEADERS[name]) for name in names}
    if rng.random() < 0.05:
        headers |= {f"X-{number}": "many" for number in range(200)}
    return Attack("odd headers", _request("GET", _address(rng, rng.choice(ADDRESSES)), headers))


def _no_http(rng: Random, _known: Known) -> Attack:
    raw = rng.choice(NO_HTTP) if rng.random() < 0.7 else rng.randbytes(rng.randrange(1, 3000))
    return Attack("no HTTP", raw + b"\r\n\r\n")


def _unsigned(rng: Random, known: Known) -> Attack:
    headers = dict(known.push_headers)
    wrong = ("", "sha256=" + "0" * 64, "sha1=" + "0" * 40, "sha256=\xff", "x" * 5000)
    headers["X-Hub-Signature-256"] = rng.choice(wrong)
    body = known.push if rng.random() < 0.5 else rng.choice(BROKEN_BODIES)
    return Attack("mis-signed", _request("POST", "/webhooks/github", headers, body))


def _claiming(rng: Random, known: Known) -> Attack:
    """Make unsigned bodies that claim to come from many repositories, or from a known one."""
    body = rng.choice(CLAIMS) * rng.randrange(1, 20_000)
    if rng.random() < 0.3:
        body += known.push
    kind = rng.choice(("application/json", "application/x-www-form-urlencoded"))
    signed = {"X-Hub-Signature-256": f"sha256={rng.randrange(16**64):064x}", "Content-Type": kind}
    raw = _request("POST", "/webhooks/github", {**known.push_headers, **signed}, body)
    return Attack("claiming", raw)


def _replayed(rng: Random, known: Known) -> Attack:
    odd = {
        "X-GitHub-Delivery": f"{rng.randrange(2**32):08x}",
        "X-GitHub-Event": rng.choice(("push", "ping", "issues", "Push", "")),
    }
    raw = _request("POST", "/webhooks/github", {**known.push_headers, **odd}, known.push)
    return Attack("replayed", raw)


def _hostile_fields(rng: Random, known: Known) -> Attack:
    endpoint = rng.choice(CHANGES)
    body = json.dumps(_fields(rng, endpoint)).encode()
    if rng.random() < 0.3:
        body = rng.choice(BROKEN_BODIES)
    headers = {**_bearer(known), "Content-Type": "application/json"}
    target = _address(rng, endpoint.path)
    return Attack("hostile body, with a token", _request(endpoint.method, target, headers, body))


def _fields(rng: Random, endpoint: Endpoint) -> dict[str, object]:
    names = [*endpoint.takes.model_fields, "surprise", "__proto__"]
    return {name: rng.choice(ODD_VALUES) for name in rng.sample(names, rng.randrange(len(names)))}


def _form(rng: Random, known: Known) -> Attack:
    headers = {
        **(_bearer(known) if rng.random() < 0.5 else {}),
        "Content-Type": "application/x-www-form-urlencoded",
        "Accept": "text/html",
    }
    body = "&".join(f"{rng.choice(ODD_QUERIES)}={rng.choice(ODD_WORDS)}" for _ in range(5))
    raw = _request("POST", _address(rng, rng.choice(CHANGES).path), headers, body.encode())
    return Attack("form", raw)


def _compressed(rng: Random, _known: Known) -> Attack:
    headers = {"Content-Encoding": "gzip", "Content-Type": "application/json"}
    body = gzip.compress(bytes(rng.randrange(1, 10**6)), mtime=0)
    return Attack("compressed", _request("POST", "/webhooks/github", headers, body))


def _too_large(rng: Random, _known: Known) -> Attack:
    path = rng.choice(("/webhooks/github", "/login"))
    if rng.random() < 0.5:
        return Attack("too large", _request("POST", path, {"Content-Length": str(10**9)}, b"x"))
    head = _request("POST", path, {"Transfer-Encoding": "chunked"})
    chunks = b"10000\r\n" + b"x" * 0x10000 + b"\r\n"
    return Attack("too large", head + chunks * 20 + b"0\r\n\r\n")


def _cut(rng: Random, known: Known) -> Attack:
    whole = _hostile_fields(rng, known).raw
    return Attack("hung up on", whole[: rng.randrange(1, len(whole))], is_cut=True)


def _slow(_rng: Random, _known: Known) -> Attack:
    raw = _request("POST", "/webhooks/github", {"Content-Length": "1000"})
    return Attack("slow", raw + b"x" * 30, is_slow=True)


MAKERS: Sequence[Callable[[Random, Known], Attack]] = (
    *(_odd_address, _odd_headers, _no_http, _unsigned, _claiming, _replayed),
    *(_hostile_fields, _form, _compressed, _too_large, _cut, _slow),
)
WEIGHTS = (300, 200, 100, 100, 40, 60, 150, 50, 20, 10, 50, 0.3)
