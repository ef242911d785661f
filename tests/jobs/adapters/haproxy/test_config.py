"""The router's configuration as text. That HAProxy takes it is shown in the contract's tests."""

from pathlib import Path

import pytest

from jobs.adapters.haproxy.assets import PATHS, WARM, found_warm, map_files, read_file
from jobs.adapters.haproxy.config import Confinement, command, configuration
from jobs.adapters.haproxy.frontends import DomainDoors, Policy
from jobs.errors import ConfigurationError, RouterError
from jobs.rules.container_values import Route, Warm

SOCKET = Path("/data/run/router.sock")
NOWHERE, POLICY = DomainDoors("0.0.0.0"), Policy(1000)


def lines(
    *,
    ports: list[int],
    routes: list[Route] | None = None,
    bind: str = "127.0.0.1",
    socket: Path = SOCKET,
    doors: DomainDoors = NOWHERE,
    policy: Policy = POLICY,
) -> list[str]:
    text = configuration(
        bind=bind, ports=ports, routes=routes or [], socket=socket, doors=doors, policy=policy
    )
    return [line.strip() for line in text.splitlines()]


def servers(port: int, text: list[str]) -> list[str]:
    start = text.index(f"backend port_{port} from slots")
    return [line for line in text[start : start + 4] if line.startswith("server ")]


def test_a_router_that_root_starts_gives_up_what_root_may() -> None:
    confinement = Confinement(Path("/an empty folder"), "keystone-router", "keystone")
    text = configuration(
        bind="127.0.0.1",
        ports=[20000],
        routes=[],
        socket=SOCKET,
        doors=NOWHERE,
        policy=POLICY,
        confinement=confinement,
    )
    lines = [line.strip() for line in text.splitlines()]
    assert "chroot '/an empty folder'" in lines
    assert {"user keystone-router", "group keystone-router"} <= set(lines)
    (admin,) = [line for line in lines if line.startswith("stats socket ")]
    assert " mode 600 user keystone group keystone level admin" in admin


def test_a_router_started_by_another_user_keeps_that_user() -> None:
    text = lines(ports=[20000])
    assert not [line for line in text if line.startswith(("chroot", "user", "group"))]
    assert command("haproxy", Path("/cfg")) == ["haproxy", "-db", "-f", "/cfg"]


def test_ports_in_a_row_are_one_range_and_gaps_split_it() -> None:
    text = lines(ports=[20003, 20000, 20001, 20005, 20006, 20000])
    assert [line for line in text if line.startswith("bind 1")] == [
        "bind 127.0.0.1:20000-20001",
        "bind 127.0.0.1:20003-20003",
        "bind 127.0.0.1:20005-20006",
    ]


def test_every_port_has_two_slots_that_are_out_of_use() -> None:
    text = lines(ports=[20000, 20001])
    for port in (20000, 20001):
        assert servers(port, text) == [
            "server a 127.0.0.1:1 disabled",
            "server b 127.0.0.1:1 disabled",
        ]


def test_the_live_slot_is_in_use_from_the_start() -> None:
    text = lines(ports=[20000], routes=[Route(20000, "b", "10.201.0.2:8000")])
    assert servers(20000, text) == ["server a 127.0.0.1:1 disabled", "server b 10.201.0.2:8000"]


def test_the_maps_of_assets_say_whether_an_entry_is_a_whole_path() -> None:
    warm = Warm(20000, "a", "[fd00::2]:8000", frozenset({"/assets/*", "/app.css", "/*"}))
    files = map_files([warm])
    assert files[PATHS].splitlines() == [
        "20000/ 20000",
        "20000/app.css? 20000",
        "20000/assets/ 20000",
    ]
    assert files[WARM] == "20000 20000@a@fd00::2@8000\n"
    assert found_warm(read_file(files[PATHS]), read_file(files[WARM])) == {20000: warm}
    assert map_files([]) == {PATHS: "", WARM: ""}


def test_two_routers_of_one_machine_have_different_doors() -> None:
    doors = [
        {line for line in lines(ports=[20000], socket=Path(path)) if "abns@" in line}
        for path in ("/one/router.sock", "/two/router.sock")
    ]
    assert len(doors[0]) == 4
    assert doors[0].isdisjoint(doors[1])


def test_a_route_of_a_port_that_is_not_ours_is_left_out() -> None:
    routes = [Route(20000, "a", "10.201.0.2:8000")]
    assert "10.201.0.2:8000" not in "\n".join(lines(ports=[20001], routes=routes))


def test_ipv6_addresses_are_bracketed() -> None:
    text = lines(ports=[20000], routes=[Route(20000, "a", "[fd00::2]:8000")], bind="::1")
    assert "bind [::1]:20000-20000" in text
    assert "server a [fd00::2]:8000" in text


def test_the_runtime_api_is_a_private_unix_socket_and_nothing_else() -> None:
    text = lines(ports=[20000])
    assert [line for line in text if "stats" in line] == [
        "stats socket 'unix@/data/run/router.sock' mode 600 level admin expose-fd listeners"
    ]


def test_a_quote_in_the_path_stays_inside_the_word() -> None:
    text = lines(ports=[20000], socket=Path("/it's/router.sock"))
    assert (
        "stats socket 'unix@/it'\\''s/router.sock' mode 600 level admin expose-fd listeners" in text
    )


@pytest.mark.parametrize("path", ["/a\nlog stdout/s", "/$HOME/s", "/a,b/s"])
def test_a_path_that_cannot_be_written_is_refused(path: str) -> None:
    with pytest.raises(ConfigurationError, match="KEYSTONE_DATA_DIR"):
        lines(ports=[20000], socket=Path(path))


@pytest.mark.parametrize(
    "bind", ["localhost", "", "*", "127.0.0.1:80", "fe80::1%x y", "0.0.0.0\nlog x"]
)
def test_an_invalid_address_is_refused(bind: str) -> None:
    with pytest.raises(ConfigurationError, match="KEYSTONE_APP_BIND"):
        lines(ports=[20000], bind=bind)


def test_without_a_single_port_there_is_no_router() -> None:
    with pytest.raises(ConfigurationError, match="KEYSTONE_PORT_RANGE"):
        lines(ports=[])


@pytest.mark.parametrize(
    "route",
    [
        Route(20000, "c", "10.201.0.2:8000"),
        Route(20000, "a", "app:8000"),
        Route(20000, "a", "10.201.0.2:8000 check\nserver c 10.0.0.1:1"),
    ],
)
def test_an_invalid_route_is_refused(route: Route) -> None:
    with pytest.raises(RouterError):
        lines(ports=[20000], routes=[route])


def test_the_router_runs_in_the_foreground() -> None:
    assert command("/usr/sbin/haproxy", Path("/data/router/haproxy.cfg")) == [
        "/usr/sbin/haproxy",
        "-db",
        "-f",
        "/data/router/haproxy.cfg",
    ]
