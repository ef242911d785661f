"""What is read of a container's tables of sockets."""

from pathlib import Path

import pytest

from jobs.adapters.docker.inside import LONGEST_TABLE, _listeners
from tests.jobs.rules.test_listeners import HEAD, row

ADDRESS = "10.201.0.2"
ROUTES = f"Local:\n  |-- {ADDRESS}\n     /32 host LOCAL\n"


def view(folder: Path, table: str, routes: str = ROUTES) -> Path:
    (folder / "tcp").write_text(table)
    (folder / "fib_trie").write_text(routes)
    return folder


def test_a_namespace_without_ipv6_is_read(tmp_path: Path) -> None:
    found = _listeners(view(tmp_path, HEAD + row(0, "0.0.0.0", 80)), ADDRESS)
    assert [str(each) for each in found or ()] == ["0.0.0.0:80"]


@pytest.mark.parametrize(
    ("table", "routes", "address"),
    [
        (HEAD, ROUTES.replace("10.201.0.2", "10.201.0.22"), ADDRESS),
        (HEAD, ROUTES.replace("/32 host LOCAL", "/28 link UNICAST"), ADDRESS),
        (HEAD, ROUTES, ""),
        (f"{HEAD}   0: ZZ:1 0:0 0A\n", ROUTES, ADDRESS),
    ],
)
def test_what_is_not_the_containers_or_not_understood_tells_nothing(
    tmp_path: Path, table: str, routes: str, address: str
) -> None:
    assert _listeners(view(tmp_path, table, routes), address) is None
    assert _listeners(tmp_path / "none", address) is None


def test_of_too_many_listeners_none_is_said_to_be_missing(tmp_path: Path) -> None:
    one = row(0, "0.0.0.0", 80)
    many = one * (2 * LONGEST_TABLE // len(one))
    assert _listeners(view(tmp_path, HEAD + many), ADDRESS) is None
    busy = row(1, ADDRESS, 80, "01") * (2 * LONGEST_TABLE // len(one))
    found = _listeners(view(tmp_path, HEAD + one + busy), ADDRESS)
    assert [str(each) for each in found or ()] == ["0.0.0.0:80"]
