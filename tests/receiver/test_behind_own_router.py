"""Keystone at its own address: a real web process behind a real router, by https.

The web process is killed and stopped while pushes arrive: none may be refused, lost or doubled.
"""

import http.client
import json
import os
import signal
import socket
import ssl
import subprocess
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import pytest
from pydantic import SecretStr
from sqlmodel import select

from jobs.adapters.haproxy.frontends import DomainDoors, Policy
from jobs.processes.own_address import own_address
from jobs.processes.web_server import web_command
from jobs.rules.naming import session_cookie
from jobs.settings import WebSettings
from jobs.states import DeliveryOutcome
from jobs.storage.models import Delivery
from jobs.system.router_key import ensure_router_key
from tests.builders import PASSWORD, WebRuntime, make_app, make_user, signed_push, webhook_secret
from tests.certificates import Authority
from tests.conftest import SECRET_KEY
from tests.haproxy import LOCALHOST, PLACES, free_ports, running_router

NAME = "deploy.example.com"
WITHIN_S = 120.0
GITHUB_WAITS_S, ALMOST_9_S = 10.0, 8.5
PUSHES, AT_ONCE, BETWEEN_ENDS = 240, 8, 30
TYPICAL, LARGE = 20_000, 1_500_000  # bytes


@dataclass
class WebProcess:
    """The web process, which can be started again."""

    settings: WebSettings
    _process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it, and wait until it listens."""
        environment = {
            "PATH": os.environ["PATH"],
            "KEYSTONE_DATA_DIR": str(self.settings.data_dir),
            "KEYSTONE_REDIS_URL": self.settings.redis_url,
            "KEYSTONE_SECRET_KEY": SECRET_KEY.get_secret_value(),
            "KEYSTONE_PORT": str(self.settings.port),
            "KEYSTONE_PUBLIC_URL": self.settings.public_url,
        }
        log = Path(self.settings.data_dir, "web.log")
        with log.open("ab") as output:
            self._process = subprocess.Popen(
                web_command(self.settings), env=environment, stderr=output
            )
        deadline = time.monotonic() + WITHIN_S
        while not self._answers():
            assert self._process.poll() is None, log.read_text()
            assert time.monotonic() < deadline, "the web process did not come up"
            time.sleep(0.05)

    def end(self, by: signal.Signals = signal.SIGTERM) -> None:
        """End it by a signal."""
        if self._process is not None:
            self._process.send_signal(by)
            self._process.wait(WITHIN_S)

    def _answers(self) -> bool:
        connection = http.client.HTTPConnection(LOCALHOST, self.settings.port, timeout=WITHIN_S)
        with closing(connection):
            try:
                connection.request("GET", "/healthz")
            except OSError:
                return False
            return connection.getresponse().status == http.HTTPStatus.OK


@dataclass
class Answer:
    status: int
    headers: http.client.HTTPMessage
    text: str


@dataclass
class Site:
    """Keystone at https://deploy.example.com."""

    web: WebProcess
    https_port: int
    trust: ssl.SSLContext

    def ask(
        self,
        method: str,
        path: str,
        body: bytes | None = None,
        *,
        source: str = LOCALHOST,
        **headers: str,
    ) -> Answer:
        """Send a request as a browser or GitHub does, from an address of this machine."""
        connection = self.connect(source)
        with closing(connection):
            sent = {name.replace("_", "-"): value for name, value in headers.items()}
            connection.request(method, path, body, {"Host": NAME, **sent})
            answer = connection.getresponse()
            return Answer(answer.status, answer.headers, answer.read().decode())

    def connect(self, source: str = LOCALHOST) -> http.client.HTTPConnection:
        """Open a connection by https, which has verified the certificate."""
        connection = http.client.HTTPConnection(LOCALHOST, self.https_port, timeout=WITHIN_S)
        plain = socket.create_connection((LOCALHOST, self.https_port), WITHIN_S, (source, 0))
        connection.sock = self.trust.wrap_socket(plain, server_hostname=NAME)
        return connection

    def log_in(self, source: str, password: str = PASSWORD, **headers: str) -> Answer:
        body = json.dumps({"name": "ada", "password": password}).encode()
        sent = {"content_type": "application/json", **headers}
        return self.ask("POST", "/login", body, source=source, **sent)


@pytest.fixture
def settings(settings: WebSettings) -> WebSettings:
    (port,) = free_ports(1)
    return settings.model_copy(update={"public_url": f"https://{NAME}", "port": port})


@pytest.fixture
def secret(runtime: WebRuntime) -> SecretStr:
    return webhook_secret(make_app(runtime))


@pytest.fixture
def site(runtime: WebRuntime, secret: SecretStr, tmp_path: Path) -> Iterator[Site]:
    assert secret
    settings = runtime.settings
    key = ensure_router_key(settings.run_dir)
    http_port, https_port = free_ports(2)
    doors = DomainDoors(LOCALHOST, http=http_port, https=https_port)
    policy = Policy(PLACES, address=own_address(settings, key))
    authority, web = Authority(), WebProcess(settings)
    folder = tmp_path / "router"
    folder.mkdir()
    with running_router(folder, doors=doors, policy=policy) as router:
        router.adapter.serve_certificates({NAME: authority.issue(NAME).bundle})
        web.start()
        try:
            yield Site(web, https_port, authority.trust)
        finally:
            web.end()


def test_a_login_through_the_router(site: Site, runtime: WebRuntime) -> None:
    make_user(runtime)
    answer = site.log_in("127.0.0.7")
    assert answer.status == 200
    cookie = answer.headers["Set-Cookie"]
    name = session_cookie(runtime.identity, is_secure=True)
    assert cookie.startswith(f"{name}=")
    assert "Secure" in cookie
    page = site.ask("GET", "/", source="127.0.0.7", cookie=cookie.partition(";")[0])
    assert page.status == 200
    assert "text/html" in page.headers["Content-Type"]
    assert site.ask("GET", "/", source="127.0.0.7").status in {302, 303, 307}


def test_the_audit_trail_and_the_login_limits_know_the_visitors(
    site: Site, runtime: WebRuntime
) -> None:
    make_user(runtime)
    forged = {"x_forwarded_for": "192.0.2.1", "x_keystone_router": "forged", "forwarded": "for=::1"}
    statuses = [site.log_in("127.0.0.8", "a wrong guess", **forged).status for _ in range(7)]
    assert statuses[0] == 401
    assert statuses[-1] == 429
    answer = site.log_in("127.0.0.9", x_forwarded_for="127.0.0.8")
    assert answer.status == 200
    cookie = answer.headers["Set-Cookie"].partition(";")[0]
    events = json.loads(site.ask("GET", "/api/audit", cookie=cookie).text)["items"]
    found = {(event["tag"], event["address"]) for event in events if event["address"]}
    assert found == {("login.failed", "127.0.0.8"), ("login.succeeded", "127.0.0.9")}


def test_nobody_is_this_machine_through_the_router(site: Site) -> None:
    assert site.ask("GET", "/metrics").status == 401
    assert site.ask("GET", "/readyz").status in {200, 503}
    assert site.ask("GET", "/healthz").status == 200


def test_the_web_process_itself_refuses_what_is_too_large(site: Site) -> None:
    answer = site.ask("POST", "/login", b"x" * 20_000, content_type="application/json")
    assert answer.status == 413
    assert json.loads(answer.text)["error"]["code"] == "too_large"


def test_a_stream_outlasts_the_wait_for_a_web_process(site: Site, runtime: WebRuntime) -> None:
    make_user(runtime)
    cookie = site.log_in(LOCALHOST).headers["Set-Cookie"].partition(";")[0]
    connection = site.connect()
    with closing(connection):
        connection.request("GET", "/api/events", headers={"Host": NAME, "Cookie": cookie})
        answer = connection.getresponse()
        assert answer.status == 200
        began = time.monotonic()
        while time.monotonic() - began < GITHUB_WAITS_S + 2:
            assert answer.readline(), "the stream was cut"


@dataclass
class Sent:
    number: int
    status: int
    took_s: float


def push(site: Site, secret: SecretStr, number: int, *, size: int = TYPICAL) -> Sent:
    """Send a push of about that size once, as GitHub does, which never repeats one."""
    sha = f"{number + 1:040x}"
    request = signed_push(
        secret,
        guid=f"{number:08d}-0000-4000-8000-000000000000",
        after=sha,
        head_commit__id=sha,
        head_commit__message="x" * size,
    )
    began = time.monotonic()
    try:
        status = site.ask(
            "POST", "/webhooks/github", request.body, **_named(request.headers)
        ).status
    except (OSError, http.client.HTTPException):
        status = 0
    return Sent(number, status, time.monotonic() - began)


def done(sending: Sequence[Future[Sent]]) -> int:
    return sum(each.done() for each in sending)


def _named(headers: dict[str, str]) -> dict[str, str]:
    return {name.replace("-", "_"): value for name, value in headers.items()}


@pytest.mark.parametrize("by", [signal.SIGKILL, signal.SIGTERM], ids=["killed", "stopped"])
def test_no_push_is_refused_lost_or_doubled_while_the_web_process_comes_and_goes(
    site: Site, runtime: WebRuntime, secret: SecretStr, by: signal.Signals
) -> None:
    with ThreadPoolExecutor(AT_ONCE) as github:
        sending = [github.submit(push, site, secret, number) for number in range(PUSHES)]
        while (before := done(sending)) < PUSHES:
            site.web.end(by)
            site.web.start()
            deadline = time.monotonic() + WITHIN_S
            while done(sending) < min(before + BETWEEN_ENDS, PUSHES):
                assert time.monotonic() < deadline, "no push arrives"
                time.sleep(0.01)
        sent = [each.result() for each in sending]
    # A push that was written down before its answer was lost is repeated: a duplicate, 200.
    others = [each for each in sent if each.status not in {200, 202}]
    # On a very busy machine the web process may need longer to start than the router waits.
    assert [each for each in others if each.status != 503 or each.took_s < ALMOST_9_S] == []
    for each in others:
        assert push(site, secret, each.number).status in {200, 202}
    with runtime.database.reading() as session:
        # A repeated delivery is on record as well, as a duplicate without an effect.
        first = select(Delivery).where(Delivery.outcome != DeliveryOutcome.DUPLICATE)
        kept = Counter(row.guid for row in session.exec(first).all())
    assert len(kept) == PUSHES
    assert set(kept.values()) == {1}


def test_a_large_push_waits_for_a_web_process_too(
    site: Site, runtime: WebRuntime, secret: SecretStr
) -> None:
    site.web.end(signal.SIGKILL)
    with ThreadPoolExecutor(1) as github:
        sending = github.submit(push, site, secret, 0, size=LARGE)
        time.sleep(1)
        site.web.start()
        assert sending.result().status == 202
