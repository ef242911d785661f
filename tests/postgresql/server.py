"""A private PostgreSQL server: on a Unix socket, in a folder of its own, gone afterwards."""

import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg import sql

DEBIANS = Path("/usr/lib/postgresql")  # with a folder for each version that is installed
USER = "postgres"
WITHIN_S = 60
# Nothing of it has to survive; and nothing of ours may depend on the server's time zone.
SETTINGS = ("fsync=off", "full_page_writes=off", "max_connections=200", "timezone=Asia/Tokyo")

Connection = psycopg.Connection[tuple[Any, ...]]


@dataclass(frozen=True)
class Server:
    """A server that runs."""

    folder: Path

    def url(self, database: str) -> str:
        """Give the setting that leads Keystone to a database."""
        return f"postgresql+psycopg://{USER}@/{database}?host={self.folder}"

    def connect(self, database: str = USER) -> Connection:
        """Connect past Keystone, as somebody at the prompt of `psql` does."""
        return psycopg.connect(host=str(self.folder), user=USER, dbname=database, autocommit=True)

    def create(self, database: str, *, like: str = "template1") -> str:
        """Make a database, a copy of another one, and give its URL."""
        names = sql.Identifier(database), sql.Identifier(like)
        with self.connect() as connection:
            connection.execute(sql.SQL("CREATE DATABASE {} TEMPLATE {}").format(*names))
        return self.url(database)

    def drop(self, database: str) -> None:
        """Remove a database, whoever is connected to it."""
        with self.connect() as connection:
            statement = sql.SQL("DROP DATABASE {} WITH (FORCE)")
            connection.execute(statement.format(sql.Identifier(database)))


@contextmanager
def started() -> Iterator[Server]:
    """Start a server with nothing in it, and stop it in the end."""
    programs = _programs()
    # Not among pytest's folders, which only its own user may enter; the path must be short, too.
    folder = Path(tempfile.mkdtemp(prefix="keystone-postgresql-"))
    if os.getuid() == 0:
        shutil.chown(folder, USER, USER)
    try:
        words = ("--no-sync", "--auth=trust", f"--username={USER}", "--locale=C.UTF-8")
        _start(folder, programs / "initdb", *words, "--encoding=UTF8", folder / "data").wait()
        settings = (f"--{setting}" for setting in SETTINGS)
        process = _start(
            folder, programs / "postgres", "-D", folder / "data", "-k", folder, "-h", "", *settings
        )
        try:
            _wait_for(Server(folder), process)
            yield Server(folder)
        finally:
            process.send_signal(signal.SIGINT)  # does not wait for those who are connected
            process.wait(WITHIN_S)
    finally:
        shutil.rmtree(folder)


def _programs() -> Path:
    """Find the folder of the server's programs, which Debian keeps off everybody's PATH."""
    on_path = shutil.which("initdb")
    if on_path:
        return Path(on_path).resolve().parent
    found = sorted(DEBIANS.glob("*/bin/initdb"), key=lambda path: float(path.parts[-3]))
    if not found:
        pytest.fail("PostgreSQL's server is not installed; `apt-get install postgresql`")
    return found[-1].parent


def _start(folder: Path, *command: str | Path) -> "subprocess.Popen[bytes]":
    # The server refuses to be root's.
    someone: dict[str, Any] = {"user": USER, "group": USER, "extra_groups": []}
    with (folder / "log").open("ab") as log:
        return subprocess.Popen(
            command, cwd="/", stdout=log, stderr=log, **(someone if os.getuid() == 0 else {})
        )


def _wait_for(server: Server, process: "subprocess.Popen[bytes]") -> None:
    end = time.monotonic() + WITHIN_S
    while time.monotonic() < end and process.poll() is None:
        try:
            server.connect().close()
        except psycopg.OperationalError:
            time.sleep(0.02)
        else:
            return
    pytest.fail(f"PostgreSQL did not come up:\n{(server.folder / 'log').read_text()}")
