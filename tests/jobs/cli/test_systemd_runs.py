"""Keystone under a real systemd, without a Docker Engine: a machine in namespaces of its own."""

import json
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import jobs
from jobs.system.part_users import find_users
from tests.systemd import Machine, machine_with_systemd

KEYSTONE = Path(sys.executable).parent / "keystone"
WITHIN_S = 240.0
FOLDER = Path("/srv/keystone")
PORT, HTTP_PORT = 18700, 18080
SETTINGS = f"""\
KEYSTONE_PORT={PORT}
KEYSTONE_PORT_RANGE=20000-20010
KEYSTONE_HTTP_PORT={HTTP_PORT}
KEYSTONE_HTTPS_PORT=0
KEYSTONE_WORKERS=1
"""
BOTH = ("keystone-router", "keystone")

pytestmark = pytest.mark.timeout(900)


@pytest.fixture
def machine() -> Iterator[Machine]:
    """A machine with a folder for Keystone, and its settings."""
    with machine_with_systemd() as machine:
        machine.run("mkdir", FOLDER)
        # The parts run as users of their own, who have to reach the program.
        for path in (KEYSTONE, Path(sys.executable).resolve(), Path(jobs.__file__)):
            machine.run("chmod", "a+rx", *path.parents)
        machine.run("sh", "-c", f"printf '{SETTINGS}' >{FOLDER}/.env")
        yield machine


def keystone(machine: Machine, *words: str) -> str:
    return machine.run(KEYSTONE, *words, folder=FOLDER).stdout


def wait_until(holds: Callable[[], object], what: str) -> None:
    deadline = time.monotonic() + WITHIN_S
    while not holds():
        assert time.monotonic() < deadline, f"not within {WITHIN_S} s: {what}"
        time.sleep(0.1)


def master(machine: Machine) -> str:
    """Give the process id of HAProxy's master; empty when it does not run."""
    return machine.run("pgrep", "--oldest", "--exact", "haproxy", code=None).stdout.strip()


def accepts(machine: Machine) -> bool:
    """Whether the web process accepts pushes."""
    url = f"http://127.0.0.1:{PORT}/readyz"
    return machine.run("curl", "-sf", "-m", "9", url, code=None).returncode == 0


def answers(machine: Machine) -> bool:
    """Whether the router answers."""
    url = f"http://127.0.0.1:{HTTP_PORT}/"
    return machine.run("curl", "-s", "-m", "9", url, code=None).returncode == 0


class Visitor:
    """Somebody who asks the router all the time, and notes when it does not answer."""

    def __init__(self, machine: Machine) -> None:
        self._machine = machine
        loop = (
            f"while curl -s -m 20 -o /dev/null http://127.0.0.1:{HTTP_PORT}/; do "
            "echo ok >>/run/asked; sleep 0.05; done; touch /run/refused"
        )
        machine.run("systemd-run", "--quiet", "--unit=visitor", "sh", "-c", loop)

    def leave(self) -> None:
        """Stop asking; it has been answered each time."""
        wait_until(lambda: len(self._asked()) > 3, "the visitor was answered")
        assert self._machine.run("test", "-e", "/run/refused", code=None).returncode == 1
        self._machine.run("systemctl", "stop", "visitor")

    def _asked(self) -> list[str]:
        return self._machine.run("cat", "/run/asked", code=None).stdout.splitlines()


def test_services_are_ready_outlive_each_other_and_are_back_with_the_machine(
    machine: Machine,
) -> None:
    said = keystone(machine, "systemd", "install")
    assert "keystone-router.service is installed, and started with the machine" in said
    # `systemctl start` has waited until pushes are accepted.
    assert accepts(machine)
    assert answers(machine)
    haproxy = master(machine)
    _is_described(machine, haproxy)
    _is_confined(machine, haproxy)

    visitor = Visitor(machine)
    _is_started_again(machine, "keystone")
    assert accepts(machine)
    machine.run("systemctl", "restart", "keystone")
    assert accepts(machine)
    _is_started_again(machine, "keystone-router")
    machine.run("systemctl", "reload", "keystone-router")
    wait_until(
        lambda: "router: HAProxy was reloaded" in machine.journal("--unit=keystone-router"),
        "HAProxy is reloaded",
    )
    machine.run("systemctl", "stop", "keystone")
    assert not accepts(machine)
    visitor.leave()
    assert master(machine) == haproxy

    machine.run("systemctl", "stop", "keystone-router")
    assert not master(machine)
    assert {machine.property(unit, "Result") for unit in BOTH} == {"success"}
    # As the machine's start does: nothing but being enabled starts them.
    machine.run("systemctl", "start", "multi-user.target")
    wait_until(lambda: accepts(machine) and answers(machine), "both are back with the machine")
    _ends(machine)


def _is_described(machine: Machine, haproxy: str) -> None:
    for unit in BOTH:
        assert machine.property(unit, "ActiveState") == "active"
        assert machine.run("systemctl", "is-enabled", unit).stdout.strip() == "enabled"
    assert "running: redis, web, watcher, quick-worker, worker" in machine.property(
        "keystone", "StatusText"
    )
    assert machine.property("keystone-router", "StatusText") == f"HAProxy {haproxy} serves"
    journal = machine.journal("--unit=keystone")
    assert any(line.startswith("Dashboard and API") for line in journal)
    # There is no engine: a warning, which the journal knows as one.
    asked = ("--unit=keystone", "--priority=warning", "--output=cat", "--grep=Docker Engine")
    # Where nothing matches, it exits with 1. The watcher starts after the web process.
    wait_until(
        lambda: not machine.run("journalctl", "--no-pager", *asked, code=None).returncode,
        "the watcher misses the engine",
    )
    assert all(json.loads(line)["level"] == "warning" for line in machine.journal(*asked))
    assert f"router: HAProxy {haproxy} runs" in machine.journal("--identifier=keystone-router")


def _is_started_again(machine: Machine, unit: str) -> None:
    """Kill the main process of a unit, and see another one ready."""
    before = machine.property(unit, "MainPID")
    machine.run("systemctl", "kill", "--kill-who=main", "--signal=KILL", unit)
    wait_until(
        lambda: (
            machine.property(unit, "NRestarts") == "1"
            and machine.property(unit, "ActiveState") == "active"
        ),
        f"{unit} is ready again",
    )
    assert machine.property(unit, "MainPID") != before


def _ends(machine: Machine) -> None:
    """Have `keystone down` stop both, and `keystone systemd remove` remove them."""
    said = keystone(machine, "down", "--yes")
    assert "keystone.service is stopped" in said
    assert not master(machine)
    assert machine.property("keystone", "ActiveState") == "inactive"
    said = keystone(machine, "systemd", "remove", "--yes")
    assert "keystone-router.service is removed" in said
    assert machine.property("keystone", "LoadState") == "not-found"


def _is_confined(machine: Machine, haproxy: str) -> None:
    for pid in (machine.property("keystone", "MainPID"), haproxy):
        status = machine.run("cat", f"/proc/{pid}/status").stdout
        assert "NoNewPrivs:\t1" in status
        assert "Seccomp:\t2" in status
        environment = machine.run("cat", f"/proc/{pid}/environ").stdout
        assert ("NOTIFY_SOCKET" in environment) == (pid != haproxy)
        # Its own data can be written to, and nothing else.
        into = ["nsenter", "--target", pid, "--mount", "--root", "test", "-w"]
        assert machine.run(*into, FOLDER / "data").returncode == 0
        assert machine.run(*into, "/etc", code=None).returncode == 1
        assert machine.run(*into, FOLDER, code=None).returncode == 1
    (web,) = machine.run("pgrep", "-f", "receiver.app").stdout.split()
    owner = machine.run("stat", "--format=%U", f"/proc/{web}").stdout.strip()
    users = find_users()
    assert owner == (users.web.name if users else "root")
    assert "NOTIFY_SOCKET" not in machine.run("cat", f"/proc/{web}/environ").stdout


def test_a_router_that_somebody_started_goes_on_as_a_service(machine: Machine) -> None:
    # As from a terminal: the router and its keeper stay when `keystone up` ends.
    by_hand = ("--quiet", "--unit=by-hand", "--property=KillMode=process")
    machine.run("systemd-run", *by_hand, f"--working-directory={FOLDER}", KEYSTONE, "up")
    wait_until(lambda: accepts(machine) and answers(machine), "it runs")
    refused = machine.run(KEYSTONE, "systemd", "install", folder=FOLDER, code=4)
    assert "that systemd did not start" in refused.stderr

    haproxy, visitor = master(machine), Visitor(machine)
    machine.run("systemctl", "stop", "by-hand")
    assert "HAProxy goes on serving" in keystone(machine, "systemd", "install")
    visitor.leave()
    assert master(machine) == haproxy
    assert "keystone-router.service" in machine.run("cat", f"/proc/{haproxy}/cgroup").stdout
    assert accepts(machine)
    told = machine.run("systemd-cgls", "--no-pager", "/system.slice", code=None).stdout
    assert "by-hand" not in told

    assert "is removed" in keystone(machine, "systemd", "remove", "--keep-router")
    assert master(machine) == haproxy
    machine.run("systemctl", "stop", "keystone-router")
    assert not master(machine)
