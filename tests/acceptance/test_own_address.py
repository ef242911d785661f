"""Keystone at https://deploy.example.com, with nothing but its own router in front."""

import ssl
import subprocess
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import httpx2
import pytest

from tests.acceptance.conftest import prepared, running
from tests.acceptance.keystone import ADMIN_PASSWORD, ANSWER_WITHIN_S, Keystone, until
from tests.acceptance.project import Project, add_project
from tests.apart import Place
from tests.certificates import Authority
from tests.githubapi import GitHubApi
from tests.gitserver import GitServer
from tests.haproxy import free_ports

pytestmark = [pytest.mark.docker, pytest.mark.timeout(600)]

NAME = "deploy.example.com"
HOOK = "/webhooks/github"
BACK_WITHIN_S = 120.0
ALMOST_AS_LONG_AS_IT_WAITS_S = 8.5
PUSHES = 20


@dataclass
class Visitor:
    """Somebody who reaches Keystone by its name, from an address of this machine."""

    http_port: int
    https_port: int
    trust: ssl.SSLContext
    address: str = "127.0.0.1"

    def ask(
        self, method: str, path: str, *, scheme: str = "https", **options: object
    ) -> httpx2.Response:
        """Send a request on a new connection."""
        port = self.https_port if scheme == "https" else self.http_port
        transport = httpx2.HTTPTransport(verify=self.trust, local_address=self.address)
        given = options.pop("headers", None)
        headers = {**(given if isinstance(given, dict) else {}), "Host": NAME}
        with httpx2.Client(transport=transport, timeout=ANSWER_WITHIN_S) as client:
            request = client.build_request(
                method,
                f"{scheme}://127.0.0.1:{port}{path}",
                headers=headers,
                extensions={"sni_hostname": NAME},
                **options,  # type: ignore[arg-type]
            )
            return client.send(request)


@pytest.fixture(scope="module")
def authority() -> Authority:
    return Authority()


@pytest.fixture(scope="module")
def ports() -> list[int]:
    return free_ports(2)


@pytest.fixture(scope="module")
def keystone(
    request: pytest.FixtureRequest, place: Place, github: GitHubApi, ports: list[int]
) -> Iterator[Keystone]:
    """A Keystone with a name of its own."""
    made = prepared(place, github)
    made.configure(
        KEYSTONE_PUBLIC_URL=f"https://{NAME}",
        KEYSTONE_HTTP_PORT=str(ports[0]),
        KEYSTONE_HTTPS_PORT=str(ports[1]),
        KEYSTONE_DOMAIN_BIND="127.0.0.1",
    )
    yield from running(request, made)


@pytest.fixture(scope="module")
def visitor(keystone: Keystone, authority: Authority, ports: list[int]) -> Visitor:
    """A visitor, once the name has a certificate."""
    issued = authority.issue(NAME)
    files = {name: keystone.folder / name for name in ("chain.pem", "key.pem")}
    files["chain.pem"].write_bytes(issued.certificate)
    files["key.pem"].write_bytes(issued.key)
    options = ("--certificate", str(files["chain.pem"]), "--key", str(files["key.pem"]))
    made = keystone.command("certificate", "set", NAME, *options, "--json")
    assert made["is_keystone"] is True
    visitor = Visitor(ports[0], ports[1], authority.trust, "127.0.0.7")

    def is_served() -> bool:
        try:
            return visitor.ask("GET", "/healthz").is_success
        except httpx2.TransportError:
            return False

    until(is_served, timeout=BACK_WITHIN_S, what="the router has the certificate")
    return visitor


@pytest.fixture(scope="module")
def web(keystone: Keystone, git_server: GitServer) -> Project:
    return add_project(keystone, git_server, "web")


def test_somebody_logs_in_by_https(keystone: Keystone, visitor: Visitor) -> None:
    answer = visitor.ask(
        "POST",
        "/login",
        json={"name": "admin", "password": ADMIN_PASSWORD},
        headers={"X-Forwarded-For": "192.0.2.1", "X-Keystone-Router": "forged"},
    )
    assert answer.status_code == httpx2.codes.OK
    cookie = answer.headers["Set-Cookie"]
    assert cookie.startswith("__Host-keystone_session_")
    assert "; Secure" in cookie
    page = visitor.ask("GET", "/", headers={"Cookie": cookie.partition(";")[0]})
    assert page.status_code == httpx2.codes.OK
    (login,) = keystone.api("GET", "/api/audit?tag=login.succeeded")["items"]
    assert login["address"] == visitor.address


def test_http_leads_to_https_and_nobody_is_local(visitor: Visitor) -> None:
    for method, path in (("GET", "/apps/web"), ("POST", HOOK)):
        answer = visitor.ask(method, path, scheme="http")
        assert answer.status_code == httpx2.codes.PERMANENT_REDIRECT
        assert answer.headers["Location"] == f"https://{NAME}:{visitor.https_port}{path}"
    assert visitor.ask("GET", "/metrics").status_code == httpx2.codes.UNAUTHORIZED


def test_no_app_can_have_the_name(keystone: Keystone, web: Project) -> None:
    answer = keystone.ask("PATCH", f"/api/apps/{web.name}", {"domains": [NAME]})
    assert answer.status_code == httpx2.codes.BAD_REQUEST
    assert "KEYSTONE_PUBLIC_URL" in answer.text


def test_operators_see_the_address_and_its_certificate(
    keystone: Keystone, visitor: Visitor
) -> None:
    assert visitor
    (listed,) = keystone.command("certificate", "list", "--json")["items"]
    assert (listed["domain"], listed["is_keystone"], listed["app"]) == (NAME, True, None)
    assert "Keystone itself" in keystone.run("certificate", "list").stdout
    told = keystone.run("doctor").stdout
    (line,) = [line for line in told.splitlines() if f"https://{NAME} (" in line]
    assert f"by the router on port {visitor.https_port}" in line


def deliver(visitor: Visitor, project: Project, sha: str) -> httpx2.Response:
    delivery = project.delivery(project.payload(sha))
    return visitor.ask("POST", HOOK, content=delivery.body, headers=delivery.headers)


def test_a_push_through_the_router_is_deployed(
    keystone: Keystone, visitor: Visitor, web: Project
) -> None:
    answer = deliver(visitor, web, web.commit("one"))
    assert answer.status_code == httpx2.codes.ACCEPTED
    (queued,) = answer.json()["deployments"]
    over = keystone.wait_for(queued["id"])
    assert over["state"] == "success", over["reason"]
    assert web.answer() == "one"


def test_a_killed_web_process_refuses_no_push(
    keystone: Keystone, visitor: Visitor, web: Project
) -> None:
    web.commit("two")
    deliveries = [
        web.delivery(web.payload(f"{number:040x}", ref=f"refs/heads/topic-{number}"))
        for number in range(PUSHES)
    ]

    def send(number: int) -> None:
        if number % 10 == 0:
            keystone.kill_part("web")
        delivery = deliveries[number]
        while True:
            began = time.monotonic()
            answer = visitor.ask("POST", HOOK, content=delivery.body, headers=delivery.headers)
            if answer.is_success:
                return
            # On a very busy machine the web process may need longer than the router waits.
            assert answer.status_code == httpx2.codes.SERVICE_UNAVAILABLE
            assert time.monotonic() - began > ALMOST_AS_LONG_AS_IT_WAITS_S

    with ThreadPoolExecutor(2) as senders:
        list(senders.map(send, range(PUSHES)))
    found = keystone.api("GET", "/api/deliveries?limit=100")["items"]
    # A repeated delivery is on record as well, as a duplicate without an effect.
    kept = [each["guid"] for each in found if each["outcome"] != "duplicate"]
    assert sorted(kept.count(each.guid) for each in deliveries) == [1] * PUSHES


def test_only_keystones_users_can_read_the_key(keystone: Keystone, visitor: Visitor) -> None:
    assert visitor
    key = keystone.data_dir / "run" / "router.key"
    assert not key.stat().st_mode & 0o007
    assert key.read_text() not in keystone.log()
    shown = keystone.run("router", "--print").stdout
    assert key.read_text() not in shown
    assert f"-m str {NAME}" in shown
    found = subprocess.run(
        ["pgrep", "-f", key.read_text()], capture_output=True, text=True, check=False
    )
    assert found.stdout == ""


def test_a_router_that_starts_again_serves_it_at_once(keystone: Keystone, visitor: Visitor) -> None:
    keystone.kill_part("router")

    def is_served() -> bool:
        try:
            return visitor.ask("GET", "/healthz").is_success
        except httpx2.TransportError:
            return False

    until(is_served, timeout=BACK_WITHIN_S, what="the router serves Keystone's address again")
