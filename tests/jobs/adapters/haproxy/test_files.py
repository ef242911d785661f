"""The router's files: small changes, which leave everything else as it is."""

import os
import threading
from pathlib import Path

import pytest

from jobs.adapters.haproxy import files as files_module
from jobs.adapters.haproxy.files import CONFIGURATION, RouterFiles
from jobs.errors import RouterError
from jobs.rules.container_values import Route
from jobs.system.router_files import LOCK

TEXT = """\
global
    description x

defaults slots
    mode http

backend port_20000 from slots
    # a comment
    server a 10.0.0.2:80 maxconn 9
    server b 127.0.0.1:1 maxconn 9 disabled

backend port_2000 from slots
    server a 127.0.0.1:1 disabled
    server b [fd00::2]:80
backend keystone
    server a 127.0.0.1:8000
"""
LIVE = {20000: Route(20000, "a", "10.0.0.2:80"), 2000: Route(2000, "b", "[fd00::2]:80")}


@pytest.fixture
def files(tmp_path: Path) -> RouterFiles:
    """The files of a router with two ports."""
    (tmp_path / CONFIGURATION).write_text(TEXT)
    return RouterFiles(tmp_path)


def text_of(folder: Path) -> str:
    """Read the configuration."""
    return (folder / CONFIGURATION).read_text()


def test_the_routes_are_read(files: RouterFiles) -> None:
    assert files.routes() == LIVE


def test_a_switch_changes_two_lines_and_keeps_their_options(
    files: RouterFiles, tmp_path: Path
) -> None:
    files.switch(Route(20000, "b", "10.0.0.3:80"))
    before, after = TEXT.splitlines(), text_of(tmp_path).splitlines()
    assert [new for old, new in zip(before, after, strict=True) if old != new] == [
        "    server a 127.0.0.1:1 maxconn 9 disabled",
        "    server b 10.0.0.3:80 maxconn 9",
    ]
    files.switch(LIVE[20000])
    assert text_of(tmp_path) == TEXT


def test_a_slot_is_detached_and_a_port_is_closed(files: RouterFiles, tmp_path: Path) -> None:
    files.detach(20000, "b")
    assert text_of(tmp_path) == TEXT
    files.detach(20000, "a")
    assert files.routes() == {20000: None, 2000: LIVE[2000]}
    files.close(2000)
    assert files.routes() == {20000: None, 2000: None}
    files.close(3000)
    assert text_of(tmp_path).endswith("backend keystone\n    server a 127.0.0.1:8000\n")


def test_the_files_are_for_their_owner_alone(files: RouterFiles, tmp_path: Path) -> None:
    files.close(20000)
    assert (tmp_path / CONFIGURATION).stat().st_mode & 0o777 == 0o600
    assert [path.name for path in tmp_path.iterdir()] == [CONFIGURATION]


def test_a_link_in_the_drafts_place_is_not_followed(files: RouterFiles, tmp_path: Path) -> None:
    target = tmp_path / "target"
    target.write_text("precious")
    (tmp_path / f"{CONFIGURATION}.draft").symlink_to(target)
    with pytest.raises(RouterError, match="cannot be written"):
        files.close(20000)
    assert (target.read_text(), text_of(tmp_path)) == ("precious", TEXT)


def test_one_holds_the_lock_at_a_time_and_a_late_one_gives_up(
    files: RouterFiles, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files_module, "PATIENCE_S", 0.1)
    with (
        files.locked(),
        pytest.raises(RouterError, match="another process holds the lock"),
        RouterFiles(tmp_path).locked(shared=True),
    ):
        pass
    with files.locked(shared=True), RouterFiles(tmp_path).locked(shared=True):
        pass


def test_a_killed_holder_releases_the_lock(files: RouterFiles, tmp_path: Path) -> None:
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        with files.locked():
            os.write(writer, b"x")
            threading.Event().wait()
    assert os.read(reader, 1) == b"x"
    os.kill(child, 9)
    os.waitpid(child, 0)
    for end in (reader, writer):
        os.close(end)
    with files.locked():
        assert (tmp_path / LOCK).exists()
