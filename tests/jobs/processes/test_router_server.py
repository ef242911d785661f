"""The router as a part of Keystone: what it is told of ports and of what is live."""

import logging
import shutil
import socket
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import pytest
from sqlmodel import select

from jobs.errors import ConfigurationError
from jobs.processes.router_server import (
    find_haproxy,
    is_free,
    router_command,
    show_configuration,
    taken_ports,
    write_configuration,
)
from jobs.processes.runtime import Runtime, open_runtime
from jobs.reads.apps import find_app
from jobs.reads.domains import find_doors
from jobs.records.apps import add_app
from jobs.rules.actors import KEYSTONE
from jobs.rules.app_fields import AppInput
from jobs.rules.mistakes import parse_input
from jobs.rules.port_range import PortRange
from jobs.settings import Settings
from jobs.storage.models import App, BlockedPort
from tests.haproxy import free_ports

HOST = "127.0.0.1"


@pytest.fixture
def ports() -> PortRange:
    """Ten ports in a row that nobody listens on."""
    found = free_ports(10)
    return PortRange(first=found[0], last=found[-1])


@pytest.fixture
def runtime(tmp_path: Path, ports: PortRange) -> Iterator[Runtime[Settings]]:
    """A Keystone in a folder with a space, whose range is those ports."""
    runtime = open_runtime(Settings(data_dir=tmp_path / "my data", port_range=ports))
    yield runtime
    runtime.database.close()
    # A path with a space has its sockets elsewhere.
    shutil.rmtree(runtime.settings.socket_dir, ignore_errors=True)


@pytest.fixture
def stranger(ports: PortRange) -> Iterator[int]:
    """Another program's port in the middle of the range."""
    with socket.create_server((HOST, ports.first + 3)):
        yield ports.first + 3


def make_app(runtime: Runtime[Settings], name: str, **fields: object) -> App:
    """Make an app."""
    wanted = parse_input(AppInput, {"name": name, "repository": f"octo/{name}", **fields})
    with runtime.database.writing() as session:
        return add_app(
            session, wanted, KEYSTONE, settings=runtime.settings, vault=runtime.vault
        ).app


def blocked(runtime: Runtime[Settings], port: int) -> bool:
    """Whether no app may be given the port."""
    with runtime.database.reading() as session:
        return session.get(BlockedPort, port) is not None


def config_of(command: list[str]) -> str:
    """Read the configuration that a command names."""
    return Path(command[-1]).read_text()


def test_haproxy_takes_the_configuration_and_stays_in_the_foreground(
    runtime: Runtime[Settings],
) -> None:
    command = router_command(runtime)
    assert "-db" in command
    subprocess.run([*command, "-c"], check=True, timeout=30, capture_output=True)
    file = Path(command[-1])
    assert file.stat().st_mode & 0o777 == 0o600


def test_every_port_of_the_range_is_listened_on(
    runtime: Runtime[Settings], ports: PortRange
) -> None:
    assert f"bind {HOST}:{ports.first}-{ports.last}\n" in config_of(router_command(runtime))


def test_a_strangers_port_is_left_out_and_kept_from_new_apps(
    runtime: Runtime[Settings], ports: PortRange, stranger: int
) -> None:
    text = config_of(router_command(runtime))
    assert f"bind {HOST}:{ports.first}-{stranger - 1}\n" in text
    assert f"bind {HOST}:{stranger + 1}-{ports.last}\n" in text
    assert blocked(runtime, stranger)
    given = {make_app(runtime, f"app-{number}").host_port for number in range(9)}
    assert stranger not in given


def test_a_port_is_given_again_when_the_stranger_has_gone(
    runtime: Runtime[Settings], ports: PortRange
) -> None:
    with socket.create_server((HOST, ports.first)):
        router_command(runtime)
        assert blocked(runtime, ports.first)
    router_command(runtime)
    assert not blocked(runtime, ports.first)


def test_an_app_whose_port_was_taken_is_named_and_the_others_are_served(
    runtime: Runtime[Settings], ports: PortRange, caplog: pytest.LogCaptureFixture
) -> None:
    lost, served = make_app(runtime, "lost"), make_app(runtime, "served")
    with socket.create_server((HOST, lost.host_port)), caplog.at_level(logging.ERROR):
        text = config_of(router_command(runtime))
    assert f"port {lost.host_port} of lost is taken by another program" in caplog.text
    assert f"backend port_{served.host_port} " in text
    assert f"backend port_{lost.host_port} " not in text


def test_what_is_live_stands_in_the_configuration(runtime: Runtime[Settings]) -> None:
    app = make_app(runtime, "web")
    with runtime.database.writing() as session:
        row = find_app(session, "web")
        row.live_address, row.live_slot = "10.201.0.2:8000", "b"
    text = config_of(router_command(runtime))
    backend = text.partition(f"backend port_{app.host_port} ")[2].partition("backend")[0]
    assert "server b 10.201.0.2:8000\n" in backend


def test_the_text_of_an_app_that_wants_it_is_compressed(runtime: Runtime[Settings]) -> None:
    make_app(runtime, "plain")
    app = make_app(runtime, "packed", gzip=True)
    text = show_configuration(runtime)
    backend = text.partition(f"backend port_{app.host_port} ")[2].partition("\nbackend ")[0]
    assert "    compression algo gzip\n" in backend
    assert text.count("compression algo") == 1


def test_an_app_keeps_its_port_when_the_range_is_moved(runtime: Runtime[Settings]) -> None:
    app = make_app(runtime, "web")
    elsewhere = free_ports(2)
    moved = open_runtime(
        runtime.settings.model_copy(
            update={"port_range": PortRange(first=elsewhere[0], last=elsewhere[1])}
        )
    )
    assert f"backend port_{app.host_port} " in config_of(router_command(moved))
    moved.database.close()


def test_a_port_that_connections_linger_on_counts_as_free(ports: PortRange) -> None:
    with socket.create_server((HOST, ports.first)) as server:
        client = socket.create_connection((HOST, ports.first))
        accepted, _ = server.accept()
        accepted.close()  # the side that closes first keeps the port in TIME_WAIT
        client.close()
    assert is_free(HOST, ports.first)
    assert taken_ports(HOST, ports) == []


@pytest.mark.parametrize("host", ["192.0.2.1", "no such host"])
def test_an_address_that_is_not_ours_is_refused(host: str) -> None:
    with pytest.raises(ConfigurationError, match="is not an address of this machine"):
        is_free(host, 8000)


def test_a_machine_without_haproxy_says_how_to_get_it(
    runtime: Runtime[Settings], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("jobs.processes.router_server.PROGRAM", "no-such-haproxy")
    assert find_haproxy() is None
    with pytest.raises(ConfigurationError, match="apt-get install haproxy"):
        router_command(runtime)


# --- Domains ---------------------------------------------------------------------------------


def with_doors(runtime: Runtime[Settings], **settings: object) -> Runtime[Settings]:
    """The same Keystone with other settings for domains."""
    changed = runtime.settings.model_copy(update={"domain_bind": HOST, **settings})
    return replace(runtime, settings=changed)


def served(runtime: Runtime[Settings]) -> Mapping[str, int]:
    with runtime.database.reading() as session:
        return find_doors(session).ports


def test_domains_are_served_on_their_ports(runtime: Runtime[Settings]) -> None:
    http_port, https_port = free_ports(2)
    keystone = with_doors(runtime, http_port=http_port, https_port=https_port)
    command = router_command(keystone)
    assert f"bind {HOST}:{http_port}\n" in config_of(command)
    assert f"bind {HOST}:{https_port} ssl " in config_of(command)
    assert served(runtime) == {"http": http_port, "https": https_port}
    subprocess.run([*command, "-c"], check=True, timeout=30, capture_output=True)


def test_a_port_that_another_program_has_is_left_out_in_one_sentence(
    runtime: Runtime[Settings], caplog: pytest.LogCaptureFixture
) -> None:
    http_port, https_port = free_ports(2)
    keystone = with_doors(runtime, http_port=http_port, https_port=https_port)
    with socket.create_server((HOST, http_port)), caplog.at_level(logging.WARNING):
        text = config_of(router_command(keystone))
    assert caplog.messages == [
        f"domains are not served by http: another program listens on port {http_port}"
    ]
    assert "http_domains" not in text.replace("https_domains", "")
    assert served(runtime) == {"https": https_port}


def test_without_ports_nothing_is_said_of_domains(runtime: Runtime[Settings]) -> None:
    text = config_of(router_command(with_doors(runtime, http_port=0, https_port=0)))
    assert "domains" not in text
    assert served(runtime) == {}


def test_every_address_of_both_kinds_can_be_served(runtime: Runtime[Settings]) -> None:
    (http_port,) = free_ports(1)
    keystone = with_doors(runtime, http_port=http_port, https_port=0, domain_bind="::")
    assert f"bind [::]:{http_port} v4v6\n" in config_of(router_command(keystone))


@pytest.mark.parametrize("bind", ["192.0.2.1", "no such host", "localhost"])
def test_an_address_for_domains_that_will_not_do_is_refused(
    runtime: Runtime[Settings], bind: str
) -> None:
    (http_port,) = free_ports(1)
    keystone = with_doors(runtime, http_port=http_port, https_port=0, domain_bind=bind)
    with pytest.raises(ConfigurationError, match="address"):
        router_command(keystone)


def test_a_router_that_somebody_else_runs_is_told_of_every_port(
    runtime: Runtime[Settings], stranger: int, tmp_path: Path
) -> None:
    theirs = tmp_path / "theirs.sock"
    settings = runtime.settings.model_copy(update={"router_socket": str(theirs)})

    text = write_configuration(replace(runtime, settings=settings)).read_text()

    assert f"{settings.port_range}" in text
    assert str(theirs) in text
    assert not blocked(runtime, stranger)


# --- Shown only ------------------------------------------------------------------------------


def everything_on_record(runtime: Runtime[Settings]) -> tuple[list[int], Mapping[str, int]]:
    with runtime.database.reading() as session:
        return list(session.exec(select(BlockedPort.port)).all()), find_doors(session).ports


def test_what_is_shown_is_what_the_running_router_was_told(
    runtime: Runtime[Settings], ports: PortRange, stranger: int
) -> None:
    http_port, https_port = free_ports(2)
    keystone = with_doors(runtime, http_port=http_port, https_port=https_port)
    make_app(runtime, "web")
    text = config_of(router_command(keystone))
    before = everything_on_record(runtime)
    assert before == ([stranger], {"http": http_port, "https": https_port})
    with ExitStack() as stack:  # the router itself, by now
        for port in {*range(ports.first, ports.last + 1), http_port, https_port} - {stranger}:
            stack.enter_context(socket.create_server((HOST, port)))
        assert show_configuration(keystone) == text
    assert everything_on_record(runtime) == before


def test_showing_writes_nothing(runtime: Runtime[Settings], ports: PortRange) -> None:
    text = show_configuration(runtime)
    assert f"port_{ports.first} " in text
    assert not runtime.settings.router_dir.exists()
    assert not runtime.settings.socket_dir.exists()
    assert everything_on_record(runtime) == ([], {})


def test_for_somebody_elses_router_the_ports_of_the_settings_are_shown(
    runtime: Runtime[Settings], tmp_path: Path
) -> None:
    keystone = with_doors(
        runtime, http_port=8080, https_port=8443, router_socket=str(tmp_path / "theirs.sock")
    )
    assert show_configuration(keystone) == write_configuration(keystone).read_text()
