"""Whether the users of Keystone's parts may use the database."""

from pathlib import Path

import pytest

from jobs.processes import separation, separation_checks
from jobs.processes.separation import Apart, Together, judge
from jobs.settings import Settings
from jobs.system.part_users import PartUser, PartUsers
from tests.apart import only_root
from tests.postgresql.server import Server

USERS = PartUsers(*(PartUser(f"user {n}", n, n) for n in (7001, 7002, 7003, 7004)))


@only_root
def test_all_stays_together_until_the_database_lets_them_in(
    server: Server, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(separation, "find_users", lambda: USERS)
    monkeypatch.setattr(separation_checks, "program_files", lambda: [Path("/usr/bin/env")])
    settings = Settings(
        data_dir=server.folder.with_name("data"), database_url=url, redis_url="redis://127.0.0.1:1"
    )
    engine = {"DOCKER_HOST": "tcp://127.0.0.1:1"}
    found = judge(settings, engine)
    assert isinstance(found, Together)
    assert found.reason.startswith("the user user 7002 cannot use the database: ")

    # Its socket lies in a folder that the others may not enter.
    server.folder.chmod(0o711)
    try:
        assert isinstance(judge(settings, engine), Apart)
    finally:
        server.folder.chmod(0o700)
