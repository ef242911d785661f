"""A complete Keystone from outside: `keystone up` as a child, HTTP and the command line.

    with Keystone(folder, github_api_url=api.url) as keystone:
        keystone.api("GET", "/api/apps")

This module imports no code of Keystone. At the end of the block it removes the apps and stops
Keystone. Neither may leave a process, container, network or image behind.
"""

import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

import httpx2

from jobs.deployment import ready_child
from tests.acceptance.belongings import Belongings
from tests.acceptance.payloads import Delivery
from tests.haproxy import free_ports
from tests.processes import Process, processes

Json = dict[str, Any]
Found = TypeVar("Found")

ADMIN_PASSWORD = "correct horse battery staple"
APP_PORTS = 60
OWN_NAME = "deploy.example.com"  # Keystone's own name, which the router serves
# Each request loads the web process, and many tests poll at once.
OVER_PAUSE_S = 0.25
STEP_PAUSE_S = 0.1
READY_PAUSE_S = 0.2
READY_WITHIN_S = 120.0  # several Keystones start at once on two processors
# These times only end a hang. They are no promises of Keystone, because a machine may be busy.
STOPPED_WITHIN_S = 90.0
KILLED_WITHIN_S = 60.0
CLEARED_WITHIN_S = 120.0
OVER_WITHIN_S = 120.0
AT_STEP_WITHIN_S = 120.0
ANSWER_WITHIN_S = 60.0
COMMAND_WITHIN_S = 120.0
KEEPER = "jobs.processes.router_keeper"
OVER = {"success", "failure", "error", "cancelled", "superseded"}


def until(
    look: Callable[[], Found], *, timeout: float, what: str = "", pause_s: float = 0.05
) -> Found:
    """Poll until a call gives a true value, and give that value."""
    deadline = time.monotonic() + timeout
    while not (found := look()):
        assert time.monotonic() < deadline, f"not within {timeout:g} s: {what or look}"
        time.sleep(pause_s)
    return found


class Keystone:
    """One Keystone with its own folder, ports and identity."""

    def __init__(
        self,
        folder: Path,
        *,
        github_api_url: str,
        catch_up_minutes: int = 0,
        admin_password: str = ADMIN_PASSWORD,
        program: Path | None = None,
        by_router: bool = False,
    ) -> None:
        web_port, *app_ports = free_ports(1 + APP_PORTS)
        self.router_port = free_ports(1)[0] if by_router else 0
        self.folder = folder
        self.data_dir = folder / "data"
        self.log_file = folder / "keystone.log"
        self.url = f"http://127.0.0.1:{web_port}"
        self.ports = range(app_ports[0], app_ports[-1] + 1)
        self.token = ""
        self._admin_password = admin_password
        self._program = program or Path(sys.executable).with_name("keystone")
        self._environment = {
            "PATH": os.environ["PATH"],
            "HOME": str(folder),
            "KEYSTONE_DATA_DIR": str(self.data_dir),
            "KEYSTONE_PORT": str(web_port),
            "KEYSTONE_PORT_RANGE": f"{app_ports[0]}-{app_ports[-1]}",
            # A test must not use the standard ports 80 and 443.
            "KEYSTONE_HTTP_PORT": str(self.router_port),
            "KEYSTONE_HTTPS_PORT": "0",
            "KEYSTONE_ALLOWED_GIT_SCHEMES": "https,http,file",
            "KEYSTONE_GITHUB_API_URL": github_api_url,
            # Otherwise a commit that a test has not pushed yet would count as a missed push.
            "KEYSTONE_CATCH_UP_MINUTES": str(catch_up_minutes),
        }
        if by_router:
            self._environment["KEYSTONE_PUBLIC_URL"] = f"http://{OWN_NAME}:{self.router_port}"
            self._environment["KEYSTONE_DOMAIN_BIND"] = "127.0.0.1"
        self._process: subprocess.Popen[bytes] | None = None
        # The web process closes connections idle for 10 s: a request must not race with that.
        limits = httpx2.Limits(keepalive_expiry=1)
        self._client = httpx2.Client(
            base_url=self.url, timeout=ANSWER_WITHIN_S, limits=limits, trust_env=False
        )

    # --- Start and end -----------------------------------------------------------------------

    def __enter__(self) -> Self:
        try:
            self.start()
            made = self.command("token", "create", "ci", "--role", "admin", "--json")
            self.token = made["token"]
        except BaseException:
            self._end()
            raise
        return self

    def __exit__(
        self,
        _kind: type[BaseException] | None,
        error: BaseException | None,
        _traceback: TracebackType | None,
    ) -> None:
        try:
            if error is None:
                self._leave_nothing()
        finally:
            self._end()

    def start(self) -> None:
        """Run `keystone up` and wait until it can accept pushes."""
        with self.log_file.open("ab") as log:
            self._process = subprocess.Popen(
                # The router outlives `keystone up`, but not the tests.
                [self._program, "up", "--owner", str(os.getpid())],
                cwd=self.folder,
                env={**self._environment, "KEYSTONE_ADMIN_PASSWORD": self._admin_password},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        until(
            self._is_ready,
            timeout=READY_WITHIN_S,
            what="GET /readyz answers 200",
            pause_s=READY_PAUSE_S,
        )

    def kill(self) -> None:
        """Kill `keystone up` as a crash would; the kernel then ends its parts, not the router."""
        assert self._process is not None
        self._process.kill()
        self._process.wait(KILLED_WITHIN_S)
        until(
            lambda: not self._without_router(),
            timeout=KILLED_WITHIN_S,
            what="no part outlives its supervisor",
        )

    def stop(self, *, router: bool = False) -> None:
        """Stop `keystone up` as systemd would, and wait until it and all its parts have ended.

        Args:
            router: whether to stop the router, too; otherwise it goes on serving.
        """
        assert self._process is not None
        self._process.terminate()
        assert self._process.wait(STOPPED_WITHIN_S) == 0
        # The kernel ends idle children of the workers a little later.
        until(
            lambda: not self._without_router(),
            timeout=KILLED_WITHIN_S,
            what=f"nothing is left of it after the end: {self._without_router()}",
        )
        if router:
            self._stop_router()
            until(
                lambda: not self.processes(),
                timeout=KILLED_WITHIN_S,
                what=f"nothing is left of its router: {self.processes()}",
            )

    def _stop_router(self) -> None:
        if self.data_dir.exists():
            finished = self.run("router", "--stop")
            assert finished.returncode == 0, finished.stderr

    def restart(self) -> None:
        """Stop `keystone up`, and start it again; the router goes on."""
        self.stop()
        self.start()

    def kill_and_start(self) -> None:
        """Kill everything but the router, and start it again."""
        self.kill()
        self.start()

    def reload_router(self) -> None:
        """Have the router load its configuration again."""
        done = self.run("router", "--reload")
        assert done.returncode == 0, done.stderr

    def configure(self, **settings: str) -> None:
        """Change settings by their names; Keystone must not be running."""
        self._environment.update(settings)

    def move(self, data_dir: Path) -> None:
        """Use another data directory from now on; Keystone must not be running."""
        self.data_dir = data_dir
        self._environment["KEYSTONE_DATA_DIR"] = str(data_dir)

    def mirrors(self) -> list[str]:
        """Name the copies of repositories on the disk."""
        return sorted(path.name for path in (self.data_dir / "mirrors").glob("*.git"))

    def log(self) -> str:
        """Give the log of all its processes."""
        return self.log_file.read_text(errors="replace") if self.log_file.exists() else ""

    def _is_ready(self) -> bool:
        assert self._process is not None
        assert self._process.poll() is None, f"keystone up has ended:\n{self.log()[-5000:]}"
        try:
            return self._client.get("/readyz").status_code == httpx2.codes.OK
        except httpx2.TransportError:
            return False

    def _leave_nothing(self) -> None:
        for deployment in self.deployments():
            if deployment["state"] not in OVER:
                self.ask("POST", f"/api/deployments/{deployment['id']}/cancel")
                self.wait_for(deployment["id"])
        for app in self.api("GET", "/api/apps")["items"]:
            self.api("DELETE", f"/api/apps/{app['name']}")
        belongings = self.belongings()
        try:
            until(
                lambda: not belongings.everything(),
                timeout=CLEARED_WITHIN_S,
                what=f"removed apps leave nothing on the engine: {belongings.everything()}",
                pause_s=0.5,
            )
            until(
                lambda: not self.mirrors(),
                timeout=CLEARED_WITHIN_S,
                what=f"removed repositories leave no source code: {self.mirrors()}",
                pause_s=0.5,
            )
        finally:
            belongings.close()
        self.stop(router=True)

    def _end(self) -> None:
        """Remove everything from the machine, in every case."""
        if self._process is not None and self._process.poll() is None:
            self._process.terminate()
            try:
                self._process.wait(STOPPED_WITHIN_S)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait(KILLED_WITHIN_S)
        self._client.close()
        self._stop_router()
        if (self.data_dir / "keystone.db").exists():
            belongings = self.belongings()
            belongings.remove()
            belongings.close()

    # --- HTTP --------------------------------------------------------------------------------

    def ask(self, method: str, path: str, json: object = None) -> httpx2.Response:
        """Send a request with the admin's token, and give the answer, whatever its status."""
        headers = {"Authorization": f"Bearer {self.token}"}
        return self._client.request(method, path, json=json, headers=headers)

    def api(self, method: str, path: str, json: object = None) -> Any:  # noqa: ANN401 — JSON
        """Send a request that must succeed, and give the JSON of its answer."""
        answer = self.ask(method, path, json)
        assert answer.is_success, f"{method} {path}: {answer.status_code} {answer.text}"
        return answer.json() if answer.content else None

    def deliver(self, delivery: Delivery, **headers: str | None) -> httpx2.Response:
        """Send a delivery as GitHub would, with changed headers; None removes a header."""
        changed = {name.replace("_", "-"): value for name, value in headers.items()}
        sent = {**delivery.headers, **changed}
        return self._client.post(
            "/webhooks/github",
            content=delivery.body,
            headers={name: value for name, value in sent.items() if value is not None},
        )

    def deliver_by_router(self, delivery: Delivery, *, within_s: float) -> httpx2.Response:
        """Send a delivery to Keystone's own name at the router, over a new connection."""
        return httpx2.post(
            f"http://127.0.0.1:{self.router_port}/webhooks/github",
            content=delivery.body,
            headers={**delivery.headers, "Host": f"{OWN_NAME}:{self.router_port}"},
            timeout=within_s,
            trust_env=False,
        )

    def deployment(self, deployment_id: int) -> Json:
        """Give one deployment."""
        found: Json = self.api("GET", f"/api/deployments/{deployment_id}")
        return found

    def deployments(self, app: str = "") -> list[Json]:
        """Give the newest hundred deployments, newest first."""
        of_app = f"&app={app}" if app else ""
        found: list[Json] = self.api("GET", f"/api/deployments?limit=100{of_app}")["items"]
        return found

    def wait_for(
        self,
        deployment_id: int,
        *,
        timeout: float = OVER_WITHIN_S,
        meanwhile: Callable[[], object] = lambda: None,
    ) -> Json:
        """Wait until a deployment has ended, and give it; call `meanwhile` at each poll."""

        def look() -> list[Json]:
            meanwhile()
            found = self.deployment(deployment_id)
            return [found] if found["state"] in OVER else []

        what = f"deployment {deployment_id} is over"
        (over,) = until(look, timeout=timeout, what=what, pause_s=OVER_PAUSE_S)
        return over

    def wait_for_step(
        self, deployment_id: int, step: str, *, timeout: float = AT_STEP_WITHIN_S
    ) -> None:
        """Wait until a deployment has reached a step."""

        def is_there() -> bool:
            steps = self.deployment(deployment_id)["steps"]
            return any(s["name"] == step and s["state"] == "running" for s in steps)

        what = f"deployment {deployment_id} is at {step}"
        until(is_there, timeout=timeout, what=what, pause_s=STEP_PAUSE_S)

    def transcript(self, deployment_id: int) -> str:
        """Give the log of a deployment."""
        return self.ask("GET", f"/api/deployments/{deployment_id}/logs").text

    def container(self, app: str) -> Json:
        """Give Docker's state of an app's container; repeat while the watcher is busy."""
        path = f"/api/apps/{app}/container"

        def look() -> list[Json]:
            answer = self.ask("GET", path)
            return [answer.json()] if answer.is_success else []

        return until(look, timeout=ANSWER_WITHIN_S, what=f"GET {path} answers")[0]

    # --- The command line --------------------------------------------------------------------

    def run(
        self,
        *arguments: str,
        stdin: str = "",
        within_s: float = COMMAND_WITHIN_S,
        **environment: str,
    ) -> subprocess.CompletedProcess[str]:
        """Run a command of `keystone`, and give its output and exit code."""
        return subprocess.run(
            [self._program, *arguments],
            cwd=self.folder,
            env={**self._environment, **environment},
            input=stdin,
            capture_output=True,
            text=True,
            timeout=within_s,
            check=False,
        )

    def command(self, *arguments: str, stdin: str = "") -> Any:  # noqa: ANN401 — JSON
        """Run a command that must succeed, and give the JSON it prints."""
        finished = self.run(*arguments, stdin=stdin)
        assert finished.returncode == 0, f"keystone {arguments}: {finished.stderr}"
        return httpx2.Response(200, text=finished.stdout).json()

    # --- Processes and objects ---------------------------------------------------------------

    def processes(self) -> list[Process]:
        """Give every process of this Keystone, found by its data directory."""
        mark = str(self.data_dir)
        return [
            process
            for process in processes()
            if mark in process.environment or any(mark in word for word in process.arguments)
        ]

    def parts(self, name: str) -> list[int]:
        """Give the process ids of one part: redis, router, watcher, (quick-)worker or web."""
        if name == "router":
            return self._router_masters()
        wanted = _PARTS[name]
        found = (p.pid for p in self.processes() if wanted in " ".join(p.arguments))
        # A worker's children look like workers: only direct children of the supervisor are parts.
        return [pid for pid in found if parent_of(pid) == self.pid]

    def _router_masters(self) -> list[int]:
        found = [p.pid for p in self.processes() if _is_haproxy(p)]
        # Its workers have the same command line.
        return [pid for pid in found if parent_of(pid) not in found]

    def router_family(self) -> set[int]:
        """Give the process ids of the router: of HAProxy and of its keeper."""
        return {p.pid for p in self.processes() if _is_haproxy(p) or KEEPER in p.arguments}

    def keepers(self) -> list[int]:
        """Give the process id of the router's keeper, if there is one."""
        return [p.pid for p in self.processes() if KEEPER in p.arguments]

    def _without_router(self) -> list[Process]:
        return [p for p in self.processes() if not (_is_haproxy(p) or KEEPER in p.arguments)]

    @property
    def pid(self) -> int:
        """The process id of `keystone up`."""
        assert self._process is not None
        return self._process.pid

    def kill_part(self, name: str) -> None:
        """End every process of one part at once."""
        for pid in self.parts(name):
            with suppress(ProcessLookupError):  # the process may be ending by itself
                os.kill(pid, signal.SIGKILL)

    def belongings(self) -> Belongings:
        """Give its objects on the engine."""
        path = self.data_dir / "keystone.db"
        with sqlite3.connect(f"file:{path}?mode=ro", uri=True) as database:
            (identity,) = database.execute("SELECT name FROM identity").fetchone()
        database.close()
        return Belongings(identity)


# The words that identify each part's command line.
_PARTS: Mapping[str, str] = {
    "redis": "redis-server",
    "watcher": "jobs.cli watcher",
    "worker": "jobs.cli worker",
    "quick-worker": "jobs.cli quick-worker",
    "web": "uvicorn",
}


def _is_haproxy(process: Process) -> bool:
    return process.arguments[0].endswith("/haproxy") and "-W" in process.arguments


def parent_of(pid: int) -> int:
    """Give the parent's process id, or 0 if the process has ended."""
    try:
        # The name in brackets may contain spaces: count the fields from its end.
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    except OSError:
        return 0


def children_of(pid: int, *, at_work: bool = False) -> list[int]:
    """Give the ids of a process's children; `at_work` leaves out a worker's idle child."""
    found = [process.pid for process in processes() if parent_of(process.pid) == pid]
    return [child for child in found if not (at_work and _stands_by(child))]


def _stands_by(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/comm").read_text().strip() == ready_child.NAME
    except OSError:
        return False
