"""Each part of Keystone runs as a separate user, with only the rights that it needs."""

import grp
import json
import os
import pwd
import secrets
import signal
import sqlite3
import stat
import subprocess
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pytest

from tests.acceptance.conftest import prepared, running
from tests.acceptance.keystone import Keystone, children_of, until
from tests.acceptance.project import Project, add_project
from tests.apart import NOBODY, Place, only_root
from tests.githubapi import GitHubApi
from tests.gitserver import GitServer
from tests.registry import CONTENT, FILE, running_registry

pytestmark = [pytest.mark.docker, only_root, pytest.mark.timeout(600)]

PARTS = {
    "redis": "keystone-redis",
    "watcher": "keystone",
    "worker": "keystone",
    "quick-worker": "keystone",
    "web": "keystone-web",
}
BACK_WITHIN_S = 120.0
PROBED_WITHIN_S = 60
ENGINE = "/var/run/docker.sock"
SECRET = "what only the app may know"

GLOBAL_SECRET = "the secret of a whole organization"

Try = tuple[str, Path | str]

# A program that tries several actions, and prints "yes" or the error for each.
PROBE = """
import json, os, socket, sqlite3, sys

def connect(path):
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(10)
        connection.connect(path)

def read(path):
    with open(path, "rb") as file:
        file.read(1)

def write(path):
    open(path, "ab").close()

def make(path):
    os.mkdir(path)
    os.rmdir(path)

def insert(path):
    with sqlite3.connect(path, timeout=30, isolation_level=None) as database:
        database.execute("BEGIN IMMEDIATE")
        database.execute("CREATE TABLE probe (number)")
        database.execute("ROLLBACK")

def tried(what, path):
    try:
        {"connect": connect, "read": read, "write": write, "list": os.listdir, "make": make,
         "insert": insert}[what](path)
    except (OSError, sqlite3.Error) as exc:
        return str(exc)
    return "yes"

print(json.dumps([tried(*each) for each in json.loads(sys.argv[1])]))
"""


@dataclass(frozen=True)
class Status:
    """The kernel's status of a process."""

    pid: int
    fields: dict[str, str]

    @classmethod
    def of(cls, pid: int) -> "Status":
        """Read the status of a process."""
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
        pairs = (line.partition(":") for line in lines)
        return cls(pid, {name: value.strip() for name, _, value in pairs})

    def numbers(self, name: str) -> set[int]:
        """Give the numbers of a line: the four user ids, or the group ids."""
        return {int(number) for number in self.fields[name].split()}

    @property
    def user(self) -> str:
        """The one user that the process runs as."""
        (uid,) = self.numbers("Uid")
        return pwd.getpwuid(uid).pw_name

    @property
    def groups(self) -> set[str]:
        """All groups of the process."""
        return {grp.getgrgid(gid).gr_name for gid in self.numbers("Gid") | self.numbers("Groups")}


@pytest.fixture(scope="module")
def keystone(request: pytest.FixtureRequest, place: Place, github: GitHubApi) -> Iterator[Keystone]:
    """A Keystone that root has started from that place."""
    made = prepared(place, github)
    # Readable by root only, as for a file with secrets.
    (made.folder / ".env").touch(mode=0o600)
    (made.folder / ".env").write_text(f"KEYSTONE_WEBHOOK_SECRET={GLOBAL_SECRET}\n")
    yield from running(request, made)


@pytest.fixture(scope="module")
def web(keystone: Keystone, git_server: GitServer) -> Project:
    """A live app with a secret."""
    project = add_project(keystone, git_server, "web")
    keystone.api("PUT", "/api/apps/web/env/API_KEY", {"value": SECRET, "secret": True})
    over = project.deploy("one")
    assert over["state"] == "success", over["reason"]
    return project


def only(keystone: Keystone, part: str) -> int:
    """Give the process id of a part that has one process, as soon as it runs."""
    (pid,) = until(lambda: keystone.parts(part), timeout=BACK_WITHIN_S, what=part)
    return pid


def serving(keystone: Keystone) -> int:
    """Give the router's process that serves requests."""

    def look() -> list[int]:
        found = [child for pid in keystone.parts("router") for child in children_of(pid)]
        return [pid for pid in found if Status.of(pid).user == "keystone-router"]

    (pid,) = until(look, timeout=BACK_WITHIN_S, what="the router serves")
    return pid


def probe(place: Place, like: Status, *tries: Try) -> list[str]:
    """Try actions with the user and groups of a process."""
    (uid,), (gid,) = like.numbers("Uid"), like.numbers("Gid")
    done = subprocess.run(
        [place.python, "-c", PROBE, json.dumps([(what, str(path)) for what, path in tries])],
        cwd="/",
        user=uid,
        group=gid,
        extra_groups=[*like.numbers("Groups")],
        capture_output=True,
        text=True,
        timeout=PROBED_WITHIN_S,
        check=True,
    )
    found: list[str] = json.loads(done.stdout)
    return found


def ensure_denied(found: list[str]) -> None:
    """Assert that every path exists and that every action was denied."""
    assert all("denied" in each or "unable to open" in each for each in found), found


# --- Users and rights ------------------------------------------------------------------------


def test_each_part_runs_as_a_user_of_its_own(keystone: Keystone) -> None:
    for part, user in PARTS.items():
        pids = until(partial(keystone.parts, part), timeout=BACK_WITHIN_S, what=part)
        assert {Status.of(pid).user for pid in pids} == {user}
    assert Status.of(only(keystone, "router")).user == "root"
    assert Status.of(serving(keystone)).user == "keystone-router"


def test_each_part_is_in_no_more_groups_than_it_needs(keystone: Keystone) -> None:
    engine = grp.getgrgid(Path(ENGINE).stat().st_gid).gr_name
    worker = {"keystone", "keystone-web", engine}
    wanted = {
        "redis": {"keystone-redis", "keystone"},
        "web": {"keystone-web", "keystone"},
        "worker": worker,
        "quick-worker": worker,
        "watcher": worker,
    }
    for part, groups in wanted.items():
        for pid in keystone.parts(part):
            assert Status.of(pid).groups == groups, part
    assert Status.of(serving(keystone)).groups == {"keystone-router"}


def test_no_part_has_or_can_gain_rights_of_root(keystone: Keystone) -> None:
    pids = [pid for part in PARTS for pid in keystone.parts(part)]
    pids += [child for pid in keystone.parts("worker") for child in children_of(pid)]
    for status in map(Status.of, [*pids, serving(keystone)]):
        told = {name: int(status.fields[name], 16) for name in ("CapEff", "CapPrm", "CapAmb")}
        assert set(told.values()) == {0}, status.fields["Name"]
        assert status.fields["NoNewPrivs"] == "1", status.fields["Name"]
        assert status.fields["Umask"] == "0077", status.fields["Name"]
    for pid in pids:
        assert int(Status.of(pid).fields["CapBnd"], 16) == 0


def test_the_routers_master_keeps_few_rights_of_root(keystone: Keystone) -> None:
    status = Status.of(only(keystone, "router"))
    kept = int(status.fields["CapEff"], 16)
    admin, raw, ptrace, override = 21, 17, 19, 1  # numbers from capabilities(7)
    assert not kept & (1 << admin | 1 << raw | 1 << ptrace | 1 << override)
    assert int(status.fields["CapBnd"], 16) == kept
    assert status.fields["NoNewPrivs"] == "1"


def test_the_serving_router_process_sees_an_empty_folder(keystone: Keystone) -> None:
    root = Path(f"/proc/{serving(keystone)}/root")
    assert root.resolve() == (keystone.data_dir / "run" / "empty").resolve()
    assert list(root.iterdir()) == []


def test_roots_settings_reach_only_the_parts_that_may_know_them(keystone: Keystone) -> None:
    assert GLOBAL_SECRET in Path(f"/proc/{only(keystone, 'web')}/environ").read_text()
    for part in ("redis", "router", "watcher", "worker"):
        for pid in keystone.parts(part):
            told = Path(f"/proc/{pid}/environ").read_text()
            assert GLOBAL_SECRET not in told
            # Redis overwrites its environment with its process title; the router needs none.
            assert ("KEYSTONE_PORT_RANGE" in told) == (part in {"watcher", "worker"})
            assert "KEYSTONE_ADMIN_PASSWORD" not in told


def test_deployments_logs_and_doctor_work_with_separate_users(
    keystone: Keystone, web: Project
) -> None:
    assert web.answer() == "one"
    assert web.answer("/env?API_KEY") == SECRET
    (last, *_) = keystone.deployments("web")
    assert "build" in keystone.transcript(last["id"])
    assert keystone.container("web")["state"] == "running"
    assert keystone.ask("GET", "/api/apps/web/logs").is_success
    assert keystone.run("logs", str(last["id"])).stdout == keystone.transcript(last["id"])
    examined = keystone.run("doctor")
    assert examined.returncode == 0, examined.stdout
    assert "apart: keystone-web, keystone-redis, keystone-router" in examined.stdout


# --- Access ----------------------------------------------------------------------------------


def test_the_web_process_reaches_the_database_the_key_the_logs_and_redis(
    keystone: Keystone, web: Project, place: Place
) -> None:
    data, (log, *_) = keystone.data_dir, (keystone.data_dir / "logs").glob("*.log")
    found = probe(
        place,
        Status.of(only(keystone, "web")),
        ("insert", data / "keystone.db"),
        ("read", data / "secret.key"),
        ("read", log),
        ("connect", data / "run" / "redis" / "redis.sock"),
    )
    assert found == ["yes"] * 4


def test_the_web_process_reaches_nothing_else(
    keystone: Keystone, web: Project, place: Place
) -> None:
    data, (log, *_) = keystone.data_dir, (keystone.data_dir / "logs").glob("*.log")
    (mirror, *_) = (data / "mirrors").glob("*.git")
    found = probe(
        place,
        Status.of(only(keystone, "web")),
        ("connect", ENGINE),
        ("connect", data / "run" / "haproxy.sock"),
        ("list", data / "mirrors"),
        ("read", mirror / "HEAD"),
        ("read", data / "router" / "haproxy.cfg"),
        ("read", data / "router" / "certificates" / "default.pem"),
        ("list", data / "redis"),
        ("list", data),
        ("list", data / "run"),
        ("make", data / "new"),
        ("make", data / "run" / "new"),
        ("make", data / "logs" / "new"),
        ("write", log),
        ("write", data / "secret.key"),
        ("read", data / "run" / "supervisor.conf"),
        ("read", f"/proc/{keystone.pid}/environ"),
        ("read", f"/proc/{keystone.parts('worker')[0]}/environ"),
    )
    ensure_denied(found)


def test_redis_reaches_its_own_folder_only(keystone: Keystone, web: Project, place: Place) -> None:
    data = keystone.data_dir
    like = Status.of(only(keystone, "redis"))
    assert probe(place, like, ("list", data / "redis")) == ["yes"]
    tries: list[Try] = [("connect", ENGINE), ("connect", data / "run" / "haproxy.sock")]
    tries += [("read", data / "keystone.db"), ("read", data / "secret.key")]
    tries += [("list", data / name) for name in ("logs", "mirrors", "router")]
    ensure_denied(probe(place, like, *tries))


def test_the_router_reaches_nothing(keystone: Keystone, web: Project, place: Place) -> None:
    data = keystone.data_dir
    tries: list[Try] = [("connect", ENGINE), ("list", data)]
    tries += [("connect", data / "run" / "redis" / "redis.sock")]
    tries += [("read", data / "keystone.db"), ("read", data / "router" / "haproxy.cfg")]
    ensure_denied(probe(place, Status.of(serving(keystone)), *tries))


def test_workers_reach_no_more_than_the_engine_and_the_data(
    keystone: Keystone, web: Project, place: Place
) -> None:
    data, like = keystone.data_dir, Status.of(keystone.parts("worker")[0])
    allowed = probe(
        place,
        like,
        ("connect", ENGINE),
        ("connect", data / "run" / "haproxy.sock"),
        ("connect", data / "run" / "redis" / "redis.sock"),
        ("list", data / "mirrors"),
    )
    assert allowed == ["yes"] * 4
    refused = probe(
        place,
        like,
        ("make", data / "new"),
        ("write", data / "secret.key"),
        ("list", data / "redis"),
        ("read", data / "run" / "supervisor.conf"),
        ("read", "/etc/shadow"),
    )
    ensure_denied(refused)


# --- Root's own logins, and root at the command line -----------------------------------------


def test_a_base_image_is_pulled_with_the_login_of_root(
    keystone: Keystone, git_server: GitServer, place: Place
) -> None:
    """`docker login` writes to root's home directory, which the workers cannot read."""
    project = add_project(keystone, git_server, "private")
    config = keystone.folder / ".docker" / "config.json"
    config.parent.mkdir(mode=0o700)
    with running_registry() as registry:
        steps = [f"FROM {registry.image}", "COPY web /web", "COPY version.txt behaviour /"]
        steps += [f'RUN ["/web", "cat", "/{FILE}"]', f"ENV RUN={secrets.token_hex(8)}"]
        dockerfile = "\n".join([*steps, 'CMD ["/web"]', ""])
        refused = project.deploy("no login", dockerfile=dockerfile)
        assert refused["state"] != "success"

        login = {"auths": {registry.host: {"auth": registry.auth}}}
        draft = config.with_suffix(".new")
        draft.write_text(json.dumps(login))
        draft.chmod(0o600)
        draft.replace(config)
        copy = keystone.data_dir / "run" / "docker" / "config.json"
        until(lambda: copy.exists() and copy.read_text() == json.dumps(login), timeout=60)

        over = project.deploy("with the login", dockerfile=dockerfile)
        assert over["state"] == "success", over["reason"]
        assert CONTENT.strip() in keystone.transcript(over["id"])
        ensure_denied(probe(place, Status.of(only(keystone, "web")), ("read", copy)))
        config.unlink()
        until(lambda: not copy.exists(), timeout=60, what="a logout counts too")


def test_files_written_by_root_at_the_command_line_stay_usable_for_the_parts(
    keystone: Keystone, web: Project
) -> None:
    keystone.command("env", "set", "web", "MODE=told by root", "--json")
    assert keystone.run("rotate-key").returncode == 0
    # Encrypted with a key file that root has written.
    keystone.api("PUT", "/api/apps/web/env/API_KEY", {"value": "another", "secret": True})
    assert web.deploy("two")["state"] == "success"
    assert [web.answer("/env?MODE"), web.answer("/env?API_KEY")] == ["told by root", "another"]

    keystone.stop()
    keystone.command("app", "set", "web", "--memory-mb", "300", "--json")
    database = keystone.data_dir / "keystone.db"
    with closing(sqlite3.connect(database)) as connection:
        # While root has the database open, SQLite keeps files beside it that belong to root.
        connection.execute("SELECT count(*) FROM apps").fetchone()
        for end in ("", "-wal", "-shm"):
            found = database.with_name(database.name + end).stat()
            assert pwd.getpwuid(found.st_uid).pw_name == "keystone"
            assert grp.getgrgid(found.st_gid).gr_name == "keystone-web"
            assert stat.S_IMODE(found.st_mode) == 0o660
    keystone.start()
    keystone.api("PATCH", "/api/apps/web", {"memory_mb": 301})
    assert web.deploy("three")["state"] == "success"


@pytest.mark.parametrize("command", ["app list", "status", "doctor", "logs 1", "backup -", "up"])
def test_commands_of_an_unauthorised_user_explain_the_refusal(
    keystone: Keystone, place: Place, command: str
) -> None:
    environ = {"PATH": os.environ["PATH"], "KEYSTONE_DATA_DIR": str(keystone.data_dir)}
    refused = subprocess.run(
        [place.keystone, *command.split()],
        cwd="/",
        env=environ,
        user=NOBODY,
        group=NOBODY,
        extra_groups=[],
        capture_output=True,
        text=True,
        timeout=PROBED_WITHIN_S,
        check=False,
    )
    assert refused.returncode in {1, 2, 3, 4, 5}
    assert "Traceback" not in refused.stderr
    assert "run this as the user that runs `keystone up`" in refused.stderr


# --- Crashes and restarts --------------------------------------------------------------------


def test_keystone_starts_again_after_a_kill(keystone: Keystone, web: Project) -> None:
    served = web.answer()
    serving(keystone)
    keystone.kill()
    keystone.start()
    until(lambda: web.answers(served), timeout=BACK_WITHIN_S, what="the app is reached again")


def test_a_killed_router_ends_its_serving_process(keystone: Keystone, web: Project) -> None:
    served, before = web.answer(), serving(keystone)
    keystone.kill_part("router")
    until(lambda: not Path(f"/proc/{before}").exists(), timeout=60, what="it ends")
    until(lambda: web.answers(served), timeout=BACK_WITHIN_S, what="the app is reached again")
    assert web.view()["host_port"] == web.port


def test_a_stopped_serving_router_process_is_replaced(keystone: Keystone, web: Project) -> None:
    served, before = web.answer(), serving(keystone)
    os.kill(before, signal.SIGSTOP)
    until(lambda: not Path(f"/proc/{before}").exists(), timeout=BACK_WITHIN_S, what="it is killed")
    until(lambda: web.answers(served), timeout=BACK_WITHIN_S, what="the app is reached again")


def owners(folder: Path) -> dict[str, tuple[int, int, int]]:
    """Give the owner, group and mode of everything below a folder."""
    found = {path: path.lstat() for path in [folder, *folder.rglob("*")]}
    return {
        str(path.relative_to(folder)): (each.st_uid, each.st_gid, stat.S_IMODE(each.st_mode))
        for path, each in found.items()
    }


def give_to_root(folder: Path) -> None:
    """Run the commands of the README for going back to an older Keystone."""
    subprocess.run(["chown", "-R", "root:", folder], check=True)
    subprocess.run(["chmod", "-R", "go=", folder], check=True)


def test_an_older_data_directory_is_taken_over_and_can_be_given_back(
    keystone: Keystone, web: Project
) -> None:
    served = web.answer()
    keystone.stop(router=True)
    give_to_root(keystone.data_dir)
    # An older Keystone requires this of its folders.
    for name in ("run", "redis", "router", "router/certificates"):
        found = (keystone.data_dir / name).lstat()
        assert (found.st_uid, found.st_mode & 0o077) == (0, 0)
    keystone.start()
    until(lambda: web.answers(served), timeout=BACK_WITHIN_S, what="the app is reached again")
    assert web.deploy("taken over")["state"] == "success"
    assert Status.of(only(keystone, "web")).user == "keystone-web"
    assert keystone.transcript(keystone.deployments("web")[-1]["id"])

    keystone.stop()
    before = owners(keystone.data_dir)
    keystone.start()
    keystone.stop()
    after = owners(keystone.data_dir)
    assert {name: after[name] for name in before.keys() & after.keys()} == {
        name: before[name] for name in before.keys() & after.keys()
    }
    keystone.start()


def test_in_a_folder_that_the_users_cannot_enter_everything_runs_as_root(
    keystone: Keystone, web: Project
) -> None:
    served = web.answer()
    keystone.stop()
    keystone.folder.chmod(0o700)
    try:
        keystone.start()
        until(lambda: web.answers(served), timeout=BACK_WITHIN_S, what="the app is reached again")
        told = f"everything runs as root: the user keystone-web cannot enter {keystone.folder}"
        assert told in keystone.log()
        # The router takes the changed configuration a little later.
        (examined,) = until(
            lambda: [done for done in [keystone.run("doctor", "--json")] if not done.returncode],
            timeout=BACK_WITHIN_S,
            what="the doctor finds no fault",
        )
        (found,) = [
            item for item in json.loads(examined.stdout)["items"] if item["name"] == "users"
        ]
        assert found["verdict"] == "warning"
        assert "/opt/keystone" in found["fix"]
        assert {Status.of(pid).user for part in PARTS for pid in keystone.parts(part)} == {"root"}
        assert web.deploy("as root")["state"] == "success"
    finally:
        keystone.stop()
        keystone.folder.chmod(0o755)
        keystone.start()
    # Files that root has written meanwhile belong to the separate users again.
    assert Status.of(only(keystone, "web")).user == "keystone-web"
    assert web.deploy("apart again")["state"] == "success"
    assert all(keystone.transcript(each["id"]) for each in keystone.deployments("web"))
