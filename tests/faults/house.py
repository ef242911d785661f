"""A complete Keystone for faults to break: processes, apps, git server, GitHub, engine, disk."""

import os
import secrets
import shutil
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import docker
import httpx2

from tests.acceptance.belongings import LABEL, Belongings
from tests.acceptance.keystone import Keystone, children_of, parent_of, until
from tests.acceptance.payloads import Delivery
from tests.acceptance.project import Project, add_project
from tests.apart import installed
from tests.checkout import Checkout
from tests.faults.engine import OwnEngine
from tests.faults.records import Records
from tests.faults.visitors import Visitors, visited
from tests.githubapi import GitHubApi
from tests.gitserver import GitServer
from tests.processes import processes
from tests.recorder import Answer, Request

TOKEN = "ghp_Faults0Token1With2Thirty3Six4Characters"
APPS = ("alder", "birch", "cedar", "elm")
WORKERS = 2
DISK_MB = 320  # an upgrade wants 200 MB to be free
GATE_HELD_S = 50.0
GITHUB_WAITS_S = 10.0
SINGLE_PARTS = ("redis", "router", "watcher", "quick-worker", "web")
BACK_WITHIN_S = 120.0
CLEARED_WITHIN_S = 300.0
LOOK_EVERY_S = 0.05
LOG_SHOWN = 8000  # characters
POSTED_WITHIN_S = 90.0
# Unfinished files that a killed process may leave below the data directory: Keystone renames its
# drafts when they are complete, and git has its own names for unfinished files.
UNFINISHED = (
    "**/.*",
    "**/*.new",
    "mirrors/*.git/*.lock",
    "mirrors/*.git/refs/**/*.lock",
    "mirrors/*.git/objects/**/tmp_*",
)


class GatedGitServer(GitServer):
    """A git server whose answers wait while one of its gates is shut.

    Attributes:
        gate: shut by a fault.
        slow_gate: shut for a short time, with any fault, so that a checkout lasts long enough for
            the fault to strike.
    """

    def __init__(self, root: Path, *, token: str) -> None:
        super().__init__(root, token=token)
        self.gate, self.slow_gate = threading.Event(), threading.Event()
        self.gate.set()
        self.slow_gate.set()

    def answer(self, request: Request) -> Answer:
        """Wait until both gates are open, and answer."""
        for gate in (self.slow_gate, self.gate):
            gate.wait(GATE_HELD_S)
        return super().answer(request)


class Holdings(Belongings):
    """The containers, networks and images of a Keystone on its engine."""

    def __init__(self, identity: str, engine: str = "") -> None:
        self.identity = identity
        self.client = docker.DockerClient(engine, timeout=60) if engine else docker.from_env()
        self._client = self.client
        self._ours = {"label": f"{LABEL}={identity}"}

    def container_ids(self) -> set[str]:
        """Give the ids of all containers, including stopped ones."""
        found = self.client.api.containers(all=True, filters=self._ours)
        return {str(container["Id"]) for container in found}


class BreakableKeystone(Keystone):
    """A Keystone on a chosen engine, with a HAProxy of its own; pushes come through the router.

    Attributes:
        longest_absence_s: the longest time from a stop or kill until it was ready again.
    """

    def __init__(
        self, folder: Path, *, github_api_url: str, program: Path, engine: str = ""
    ) -> None:
        super().__init__(folder, github_api_url=github_api_url, program=program, by_router=True)
        self._engine = engine
        self.longest_absence_s = 0.0
        self.haproxy = _own_haproxy(folder.with_suffix(".bin"))
        self._environment["PATH"] = f"{self.haproxy.parent}:{self._environment['PATH']}"
        # Not on the disk that a fault fills up.
        self.log_file = folder.with_suffix(".log")
        self._environment |= {"KEYSTONE_WORKERS": str(WORKERS), "KEYSTONE_MIN_FREE_DISK_MB": "0"}
        if engine:
            self._environment["DOCKER_HOST"] = engine

    def start(self) -> None:
        """Run `keystone up`; if it does not become ready, the error contains its log."""
        try:
            super().start()
        except AssertionError as exc:
            exc.add_note(self.log()[-LOG_SHOWN:])
            raise

    def restart(self) -> None:
        """Stop it, and start it again."""
        begun = time.monotonic()
        super().restart()
        self._note_absence(begun)

    def kill_and_start(self) -> None:
        """Kill everything but the router, and start it again."""
        begun = time.monotonic()
        super().kill_and_start()
        self._note_absence(begun)

    def _note_absence(self, begun: float) -> None:
        self.longest_absence_s = max(self.longest_absence_s, time.monotonic() - begun)

    def deliver(self, delivery: Delivery, **headers: str | None) -> httpx2.Response:
        """Send a delivery as GitHub would: through the router, which may make it wait."""
        assert not headers, "no fault changes headers"
        return self.deliver_by_router(delivery, within_s=GITHUB_WAITS_S)

    def belongings(self) -> Holdings:
        """Give the objects of this Keystone on its engine."""
        found = super().belongings()
        found.close()
        return Holdings(found.identity, self._engine)


def _own_haproxy(folder: Path) -> Path:
    """Copy HAProxy, so that a fault can replace the program of this router."""
    program = shutil.which("haproxy", path=f"{os.environ['PATH']}:/usr/sbin")
    assert program, "haproxy is not installed; `apt-get install haproxy`"
    folder.mkdir(mode=0o755)
    return Path(shutil.copy2(program, folder / "haproxy"))


@dataclass
class House:
    """Everything that runs while rounds are played."""

    keystone: BreakableKeystone
    checkout: Checkout  # the code that Keystone is started from
    git: GatedGitServer
    github: GitHubApi
    projects: Sequence[Project]
    records: Records
    holdings: Holdings
    visitors: Visitors
    folder: Path  # its file system is Keystone's disk
    engine: OwnEngine | None = None  # None: the machine's, which no fault may break

    @property
    def own_engine(self) -> OwnEngine:
        """The engine of this house, which faults may break."""
        assert self.engine is not None, "nobody may break the machine's engine"
        return self.engine

    def pid(self, part: str) -> int:
        """Give the process id of a part that has one process."""
        (pid,) = until(lambda: self.keystone.parts(part), timeout=BACK_WITHIN_S, what=part)
        return pid

    def wait_until_whole(self) -> None:
        """Wait until every part runs, the web process accepts deliveries and every app answers."""
        deadline = time.monotonic() + BACK_WITHIN_S
        while missing := self._missing():
            assert time.monotonic() < deadline, f"not there within {BACK_WITHIN_S:g} s: {missing}"
            time.sleep(LOOK_EVERY_S)

    def _missing(self) -> list[str]:
        counts = {**dict.fromkeys(SINGLE_PARTS, 1), "worker": WORKERS}
        missing = [part for part, n in counts.items() if len(self.keystone.parts(part)) != n]
        if not self.answers(lambda: self.keystone.ask("GET", "/readyz").is_success):
            missing.append("readiness")
        return missing + [each.name for each in self.projects if not self.answers(each.answer)]

    def answers(self, ask: Callable[[], object]) -> bool:
        """Whether a request is answered now."""
        with suppress(httpx2.TransportError):
            return bool(ask())
        return False

    def ailments(self) -> list[str]:
        """List what no longer works: an app's next push, commit statuses, `keystone doctor`."""
        try:
            self.wait_until_whole()
            deploy_each(self.projects)
            until(lambda: not self.records.unposted(), timeout=POSTED_WITHIN_S, what="all posted")
        except AssertionError as exc:
            return [str(exc)]
        examined = self.keystone.run("doctor")
        return [examined.stdout + examined.stderr] if examined.returncode else []

    def left(self) -> list[str]:
        """List everything without an owner, and everything that is missing."""
        return [*self._leases(), *self._on_engine(), *self._files(), *self._processes()]

    def _leases(self) -> list[str]:
        return [f"{app} is held by somebody" for app in self.records.leases()]

    def _on_engine(self) -> list[str]:
        live = {found.container_id for found in self.records.live().values()}
        owned = live | self.records.kept()
        found, known = self.holdings.container_ids(), self.records.images()
        return [
            *(f"the container {each[:12]}, which does not serve" for each in found - owned),
            *(f"no container {each[:12]}, which is to serve" for each in live - found),
            *(f"the image {tag}" for tag in self.holdings.images() if tag not in known),
        ]

    def _files(self) -> list[str]:
        folder = self.keystone.data_dir
        found = [path for pattern in UNFINISHED for path in folder.glob(pattern)]
        return [f"the file {path.relative_to(folder)}" for path in found]

    def _processes(self) -> list[str]:
        """Find processes other than `keystone up`, its parts and idle children: mainly git."""
        up = self.keystone.pid
        parts = children_of(up)
        # The router is a service of its own, which `keystone up` started.
        serving = self.keystone.router_family()
        at_work = {child for part in parts for child in children_of(part, at_work=True)} - serving
        # Git does not name the data directory when it only talks to the server.
        marks, family = (str(self.keystone.data_dir), self.git.url), {up, *parts, *serving}
        return [
            f"the process {process.pid}, {process.arguments[:6]}"
            for process in processes()
            if any(
                mark in word for mark in marks for word in (process.environment, *process.arguments)
            )
            and (process.pid in at_work or not family & {process.pid, parent_of(process.pid)})
        ]


@contextmanager
def a_house(*, engine: OwnEngine | None = None, apps: Sequence[str] = APPS) -> Iterator[House]:
    """Build a house whose apps are live, and remove all of it at the end."""
    with ExitStack() as stack:
        folder = stack.enter_context(_disk())
        git = stack.enter_context(GatedGitServer(folder.with_suffix(".git"), token=TOKEN))
        github = stack.enter_context(GitHubApi(token=TOKEN))
        where = engine.url if engine else ""
        # For root: the folder from which the parts of Keystone run as separate users.
        checkout = Checkout(stack.enter_context(installed()).make_folder("keystone"))
        keystone = BreakableKeystone(
            folder, github_api_url=github.url, program=checkout.program, engine=where
        )
        stack.enter_context(keystone)
        holdings = keystone.belongings()
        stack.callback(holdings.close)
        projects = [add_project(keystone, git, name) for name in apps]
        if engine:
            for project in projects:
                engine.lead_to(holdings.identity, project.name)
        deploy_each(projects)
        visitors = stack.enter_context(visited(projects))
        records = Records(keystone.data_dir / "keystone.db")
        yield House(
            keystone, checkout, git, github, projects, records, holdings, visitors, folder, engine
        )
        _clear(keystone, holdings, [project.name for project in projects])


def deploy_each(projects: Sequence[Project]) -> None:
    """Push a version to every app that goes live; its fetch also clears a refused token."""
    for project in projects:
        over = project.deploy(secrets.token_hex(8))
        assert over["state"] == "success", over["reason"]


def _clear(keystone: Keystone, holdings: Holdings, apps: Sequence[str]) -> None:
    """Remove every app; fifty of them take a while."""
    for app in apps:
        keystone.api("DELETE", f"/api/apps/{app}")
    until(lambda: not holdings.containers(), timeout=CLEARED_WITHIN_S, what="all apps are gone")


@contextmanager
def _disk() -> Iterator[Path]:
    """Give a folder that is a small separate disk; needs root."""
    with tempfile.TemporaryDirectory(prefix="ks-") as outside:
        Path(outside).chmod(0o755)
        folder = Path(outside) / "up"
        folder.mkdir()
        options = f"size={DISK_MB}m,mode=0755"
        subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", folder], check=True)
        try:
            yield folder
        finally:
            subprocess.run(["umount", "--lazy", folder], check=True)
