"""The watcher's part in domains, with a fake router and with the whole real one."""

import subprocess
from collections.abc import Iterator
from contextlib import closing, contextmanager
from http.client import HTTPConnection
from pathlib import Path

import pytest
from pydantic import SecretStr

from jobs.adapters.haproxy.router import HAProxyRouter
from jobs.deployment.work import Tools
from jobs.duties.serve_domains import serve_domains
from jobs.errors import RouterError
from jobs.processes.router_server import router_command
from jobs.processes.runtime import Runtime
from jobs.reads.apps import find_app
from jobs.records.apps import remove_app
from jobs.records.certificates import remove_certificate, set_certificate
from jobs.rules.certificates import Bundle
from jobs.rules.container_values import Route
from jobs.rules.port_range import PortRange
from jobs.settings import WorkerSettings
from jobs.system.router_files import LOCK
from jobs.watcher import SERVE_DOMAINS_EVERY_S, duties
from tests.certificates import NOW, Authority
from tests.haproxy import LOCALHOST, Upstream, free_ports
from tests.jobs.bench import TESTER, Bench, wait_for

PEM = SecretStr("pem")


def give_certificate(bench: Bench, domain: str, pem: SecretStr) -> None:
    with bench.writing() as session:
        set_certificate(session, domain, Bundle(pem, NOW), TESTER, vault=bench.runtime.vault)


def test_a_round_brings_all_to_the_router_and_takes_away_what_is_gone(bench: Bench) -> None:
    web, shop = bench.app("web", domains=["a.example"]), bench.app("shop", domains=["b.example"])
    give_certificate(bench, "a.example", PEM)
    router = bench.world.router
    serve_domains(bench.runtime, bench.world.tools)
    assert router.domains == {"a.example": web.host_port, "b.example": shop.host_port}
    assert router.certificates == {"a.example": PEM}
    with bench.writing() as session:
        remove_app(session, find_app(session, "web"), TESTER)
        remove_certificate(session, "a.example", TESTER)
    serve_domains(bench.runtime, bench.world.tools)
    assert (router.domains, router.certificates) == ({"b.example": shop.host_port}, {})


def test_a_router_that_is_down_is_told_of(bench: Bench) -> None:
    bench.world.router.down = True
    with pytest.raises(RouterError):
        serve_domains(bench.runtime, bench.world.tools)


def test_a_new_domain_waits_for_less_than_five_seconds(bench: Bench) -> None:
    (duty,) = [duty for duty in duties(bench.runtime) if duty.name == "domains"]
    assert duty.every_s == SERVE_DOMAINS_EVERY_S < 4


# --- With HAProxy ----------------------------------------------------------------------------


@pytest.fixture
def settings(settings: WorkerSettings) -> WorkerSettings:
    http_port, https_port, first, last = free_ports(4)
    return settings.model_copy(
        update={
            "port_range": PortRange(first=first, last=last),
            "http_port": http_port,
            "https_port": https_port,
            "domain_bind": LOCALHOST,
        }
    )


@pytest.fixture
def tools(bench: Bench) -> Tools:
    """The fake world with a real router."""
    fakes = bench.world.tools
    router = HAProxyRouter(bench.runtime.settings.effective_router_socket)
    return Tools(engine=fakes.engine, source=fakes.source, router=router, probe=fakes.probe)


@contextmanager
def routing(runtime: Runtime[WorkerSettings], tools: Tools) -> Iterator[None]:
    """Run the router as `keystone router` does."""
    with subprocess.Popen(router_command(runtime), stderr=subprocess.DEVNULL) as process:
        try:
            wait_for(lambda: answers(tools))
            yield
        finally:
            process.kill()


def answers(tools: Tools) -> bool:
    try:
        tools.router.version()
    except RouterError:
        return False
    return True


def ask(port: int, host: str) -> tuple[int, str]:
    with closing(HTTPConnection(LOCALHOST, port, timeout=60)) as connection:
        connection.request("GET", "/", headers={"Host": host})
        answer = connection.getresponse()
        return answer.status, answer.headers.get("Location") or answer.read().decode()


def test_domains_and_certificates_outlive_a_crash_of_the_router(bench: Bench, tools: Tools) -> None:
    settings, issued = bench.runtime.settings, Authority().issue("a.example").bundle
    app, port = bench.app(domains=["a.example", "b.example"]), settings.http_port
    with Upstream("web") as upstream:
        with routing(bench.runtime, tools):
            tools.router.switch(Route(app.host_port, "a", upstream.address))
            assert ask(port, "b.example") == (200, "web")
            give_certificate(bench, "a.example", issued)
            serve_domains(bench.runtime, tools)
            assert ask(port, "a.example") == (308, f"https://a.example:{settings.https_port}/")
        with bench.writing() as session:
            row = find_app(session, app.name)
            row.live_slot, row.live_address = "a", upstream.address
        with routing(bench.runtime, tools):
            assert ask(port, "b.example") == (200, "web")
            assert ask(port, "a.example")[0] == 308


def test_a_domain_of_a_new_app_works_after_one_round(bench: Bench, tools: Tools) -> None:
    with Upstream("web") as upstream, routing(bench.runtime, tools):
        app, port = bench.app(domains=["a.example"]), bench.runtime.settings.http_port
        tools.router.switch(Route(app.host_port, "a", upstream.address))
        assert ask(port, "a.example")[0] == 421
        serve_domains(bench.runtime, tools)
        assert ask(port, "a.example") == (200, "web")


def test_nothing_but_the_router_can_read_its_files(bench: Bench) -> None:
    give_certificate(bench, "a.example", Authority().issue("a.example").bundle)
    folder = Path(router_command(bench.runtime)[-1]).parent
    files = [file for file in folder.rglob("*") if file.is_file() and file.name != LOCK]
    assert len(files) == 9
    assert {file.stat().st_mode & 0o777 for file in files} == {0o600}
    assert folder.stat().st_mode & 0o777 == 0o700
    with bench.writing() as session:
        remove_certificate(session, "a.example", TESTER)
    router_command(bench.runtime)
    assert len(list((folder / "certificates").iterdir())) == 1
