"""`keystone upgrade` on a running Keystone: what is replaced, and what comes back if that fails."""

import json
import os
import sqlite3
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import httpx2
import pytest

from jobs.processes.code_copies import digest_of
from jobs.storage.migrations.apply import HEAD
from tests.acceptance.conftest import running
from tests.acceptance.keystone import Json, Keystone, until
from tests.acceptance.project import Nap, Project, add_project
from tests.apart import installed
from tests.checkout import LATE, Checkout
from tests.githubapi import GitHubApi
from tests.gitserver import GitServer

pytestmark = [pytest.mark.docker, pytest.mark.timeout(900)]

UPGRADED_WITHIN_S = 500.0
WAITS_S = 9.0  # as the router lets a request to Keystone wait, while nobody listens
PARTS = ("redis", "watcher", "worker", "quick-worker", "web")


@pytest.fixture(scope="module")
def checkout() -> Iterator[Checkout]:
    """The folder with the code, which the tests change."""
    with installed() as place:
        yield Checkout(place.make_folder("keystone"))


@pytest.fixture(scope="module")
def keystone(
    request: pytest.FixtureRequest, checkout: Checkout, github: GitHubApi
) -> Iterator[Keystone]:
    """A Keystone that runs from the folder."""
    folder = checkout.folder.parent / "up"
    folder.mkdir(mode=0o755)
    made = Keystone(folder, github_api_url=github.url, program=checkout.program)
    yield from running(request, made)


@pytest.fixture(scope="module")
def web(keystone: Keystone, git_server: GitServer) -> Project:
    """An app."""
    return add_project(keystone, git_server, "upgraded")


@pytest.fixture(autouse=True)
def clean(keystone: Keystone, checkout: Checkout) -> Iterator[None]:
    """Begin with the code that runs."""
    assert keystone.url
    checkout.reset()
    yield
    checkout.reset()


def upgrade(keystone: Keystone, *options: str) -> "subprocess.CompletedProcess[str]":
    """Run the command."""
    return subprocess.run(
        [keystone._program, "upgrade", *options],
        cwd=keystone.folder,
        env=keystone._environment,
        capture_output=True,
        text=True,
        timeout=UPGRADED_WITHIN_S,
        check=False,
    )


def version(keystone: Keystone) -> Json:
    """Give what is known of the running version."""
    found: Json = json.loads((keystone.data_dir / "run" / "version.json").read_text())
    return found


def parts(keystone: Keystone) -> dict[str, list[int]]:
    """Give the process ids of the parts that the upgrade replaces."""
    return {name: keystone.parts(name) for name in PARTS}


def schema(keystone: Keystone) -> str:
    """Give the database's schema."""
    path = keystone.data_dir / "keystone.db"
    with sqlite3.connect(f"file:{path}?mode=ro", uri=True) as database:
        (found,) = database.execute("SELECT version_num FROM alembic_version").fetchone()
    database.close()
    return str(found)


def audit(keystone: Keystone, tag: str) -> list[Json]:
    """Give the audit events of a kind."""
    found: list[Json] = keystone.api("GET", f"/api/audit?tag={tag}")["items"]
    return found


@dataclass
class Pushes:
    """Pushes of one commit after the other, each sent again while nobody listens."""

    project: Project
    answers: list[int] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)

    def run(self, over: threading.Event) -> None:
        """Send pushes until told to stop."""
        number = 0
        while not over.wait(0.1):
            number += 1
            delivery = self.project.delivery(
                self.project.payload(self.project.commit(f"v{number}"))
            )
            begun = time.monotonic()
            while True:
                try:
                    self.answers.append(self.project.keystone.deliver(delivery).status_code)
                except httpx2.TransportError as exc:
                    # Nobody has taken it: the router tries again.
                    if time.monotonic() < begun + WAITS_S:
                        time.sleep(0.02)
                        continue
                    self.failures.append(repr(exc))
                break


@contextmanager
def stream_of_pushes(project: Project) -> Iterator[Pushes]:
    """Send pushes for as long as the block runs."""
    pushes, over = Pushes(project), threading.Event()
    thread = threading.Thread(target=pushes.run, args=(over,), daemon=True)
    thread.start()
    try:
        yield pushes
    finally:
        over.set()
        thread.join(60)


@pytest.mark.parametrize("fault", ["import", "migration", "settings"])
def test_what_is_wrong_is_found_before_anything_is_touched(
    keystone: Keystone, checkout: Checkout, fault: str
) -> None:
    if fault == "import":
        checkout.change("receiver/app.py", "import asyncio", "import asyncio\nimport not_there")
    elif fault == "migration":
        checkout.add_migration(compatible=False, upgrade="op.execute('SELECT nonsense')")
    else:
        checkout.change("jobs/settings.py", "workers: ", "port_of_the_past: int\n    workers: ")
    before, running_parts = version(keystone), parts(keystone)
    done = upgrade(keystone)
    assert done.returncode != 0, done
    told = {"import": "not_there", "migration": "nonsense", "settings": "PORT_OF_THE_PAST"}[fault]
    assert told in done.stderr
    assert (version(keystone), parts(keystone), schema(keystone)) == (before, running_parts, HEAD)


def test_a_version_that_does_not_get_ready_makes_room_for_the_old_one(
    keystone: Keystone, checkout: Checkout
) -> None:
    before = version(keystone)
    checkout.change(
        "receiver/app.py",
        "    runtime, outlines = ",
        "    raise ValueError('broken')\n    runtime = ",
    )
    checkout.change("receiver/app.py", "runtime or _open_own_runtime(), Outlines()", "None")
    done = upgrade(keystone, "--ready-within", "12")
    assert done.returncode == 1, done
    assert "the new version did not get ready" in done.stderr
    assert "runs again" in done.stderr
    after = version(keystone)
    assert (after["version"], after["pid"]) == (before["version"], before["pid"])
    (event,) = audit(keystone, "keystone.upgrade_failed")
    assert event["actor"].startswith("cli:")
    # Whoever starts it again gets what works, and is told so.
    keystone.kill()
    keystone.start()
    assert version(keystone)["version"] == before["version"]
    assert "`make upgrade` tries the new one" in keystone.log()


def test_a_schema_that_the_old_version_cannot_use_is_brought_back(
    keystone: Keystone, checkout: Checkout
) -> None:
    before = version(keystone)
    checkout.add_migration(compatible=False)
    checkout.change("jobs/worker.py", "    os.nice(NICENESS)", "    raise ValueError('no worker')")
    done = upgrade(keystone, "--ready-within", "12")
    assert done.returncode == 1, done
    assert "the new version did not get ready" in done.stderr
    after = version(keystone)
    assert (after["version"], after["pid"]) == (before["version"], before["pid"])
    assert schema(keystone) == HEAD


def test_a_new_version_takes_over_without_losing_a_push(
    keystone: Keystone, checkout: Checkout, web: Project
) -> None:
    assert web.deploy("zero")["state"] == "success"
    nap = Nap()
    asleep = web.push(web.commit("slow", dockerfile=nap.dockerfile))
    until(nap.sleepers, timeout=120, what="the build sleeps")
    before, pid, old_parts = version(keystone), keystone.pid, parts(keystone)
    checkout.touch()
    checkout.add_migration(compatible=True)
    with stream_of_pushes(web) as pushes:
        done = upgrade(keystone, "--ready-within", "120")
    assert done.returncode == 0, done
    assert not pushes.failures
    assert set(pushes.answers) == {202}
    # Old and new parts, in one and the same supervising process.
    after = version(keystone)
    assert (after["pid"], keystone.pid) == (before["pid"], pid)
    assert after["version"]["code"] != before["version"]["code"]
    assert after["previous"] == before["version"]
    assert all(not set(old_parts[name]) & set(found) for name, found in parts(keystone).items())
    assert schema(keystone) == LATE
    assert audit(keystone, "keystone.upgraded")
    for name in PARTS:
        for part in keystone.parts(name):
            if name != "redis":
                assert after["version"]["code"] in _environment(part)["PYTHONPATH"]
    # Everything that was accepted comes to an end, and the last push is what serves.
    newest = keystone.deployments("upgraded")[0]

    def is_over() -> bool:
        nap.wake()
        return bool(keystone.deployment(newest["id"])["state"] == "success")

    until(is_over, timeout=300, what="the last push is deployed", pause_s=1)
    assert keystone.deployment(asleep["id"])["state"] in {"superseded", "success"}
    assert upgrade(keystone).stdout.strip().endswith("runs already.")


def test_the_old_code_runs_on_a_schema_that_is_compatible(
    keystone: Keystone, checkout: Checkout
) -> None:
    assert schema(keystone) == LATE
    checkout.touch()  # the code of this repository, which does not know that schema
    done = upgrade(keystone, "--ready-within", "120")
    assert done.returncode == 0, done
    assert schema(keystone) == LATE
    now = version(keystone)
    kept = {str(path) for path in (keystone.data_dir / "code").iterdir()}
    assert {now["version"]["code"], now["previous"]["code"]} <= kept
    assert len(kept) <= 3  # the router may still run from an earlier one
    assert 1 <= len(list((keystone.data_dir / "backups").iterdir())) <= 3


def test_a_machine_that_is_switched_off_meanwhile_starts_one_version_and_the_next_try_works(
    keystone: Keystone, checkout: Checkout
) -> None:
    checkout.touch("switched off")
    with subprocess.Popen(
        [keystone._program, "upgrade"],
        cwd=keystone.folder,
        env={**keystone._environment, "PYTHONUNBUFFERED": "1"},
        stdout=subprocess.PIPE,
        text=True,
    ) as command:
        assert command.stdout is not None
        assert any("finish, or hand back" in line for line in command.stdout)
        command.kill()
        keystone.kill()
    keystone.start()
    known = {path.name for path in (keystone.data_dir / "code").iterdir()}
    assert Path(version(keystone)["version"]["code"]).name in known
    done = upgrade(keystone, "--ready-within", "120")
    assert done.returncode == 0, done
    now = version(keystone)
    assert now["version"]["code"].endswith(digest_of(checkout.folder))
    assert not (keystone.data_dir / "run" / "next.json").exists()


def _environment(pid: int) -> dict[str, str]:
    with suppress(OSError):
        lines = Path(f"/proc/{pid}/environ").read_bytes().decode().split("\0")
        return dict(line.partition("=")[::2] for line in lines)
    return dict(os.environ)
