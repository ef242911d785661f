"""The faults: what each one breaks, for how long, and which deployment results it excuses."""

import os
import re
import signal
import socket
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import (
    AbstractContextManager,
    ExitStack,
    closing,
    contextmanager,
    suppress,
)
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from urllib.parse import urlsplit

from docker.models.containers import Container
from redis import Redis

from receiver.connections import raise_file_limit
from tests.acceptance.keystone import parent_of, until
from tests.faults import endings
from tests.faults.engine import LIVE_RESTORE
from tests.faults.house import House
from tests.faults.moments import MissedError, Moment, striking
from tests.faults.verdict import NEVER
from tests.recorder import Fault as Misbehaviour
from tests.recorder import RecordingServer

DATABASE_LOCKED_S = 8.0
DISK_FULL_S = 2.0
REDIS_DOWN_S = 2.0
OUTAGE_S = 1.0
MET_WITHIN_S = 45.0  # a hanging client gives up after 10 s
ENDS_WITHIN_S = 60.0
KILLED_WITHIN_S = 90.0  # a stopped process is killed after 20 s
LONG_PAUSE_S = 120.0
STREAMS, HEADS, BODIES = 799, 830, 300
SWEPT_WITHIN_S = 8.0  # the watcher sweeps every 5 s
STRANGER, CROWD = "127.66.66.66", 1500
WORKER_KILLED = re.compile("^the worker was killed in (release|start|health_check|switch)")
ANY_REASON = re.compile(".")
WITHDRAWN = re.compile("^its container ended .* within 60 s of going live")
WITHDRAWN_WITHIN_S = 150.0
DIES = "dies 400"  # milliseconds after each start; on most machines this is after the switch

Struck = AbstractContextManager[None]
Strike = Callable[[House, Moment], Struck]


@dataclass(frozen=True)
class Fault:
    """One way to break Keystone.

    Attributes:
        strike: the context manager that breaks something while its block runs and pushes arrive;
            at the end it raises `MissedError` if it hit nothing.
        excuse: reasons with which the affected deployments may end without success.
        is_slow: a round with this fault takes half a minute or more.
        cuts_visitors: the fault breaks the part that answers visitors.
        refuses_pushes: the fault breaks what every push needs: the router, the database, the disk.
        behaviour: the defect of the pushed apps, as a command of `tests/web.c`.
        weight: how often the fault is drawn, relative to the others; a fault that strikes at a
            step is drawn often enough to strike at all steps in 300 rounds.
    """

    strike: Strike
    excuse: re.Pattern[str] = NEVER
    is_slow: bool = False
    cuts_visitors: bool = False
    refuses_pushes: bool = False
    behaviour: str = ""
    weight: int = 1


# --- Processes -------------------------------------------------------------------------------


def signalled(house: House, moment: Moment, *, part: str, number: signal.Signals) -> Struck:
    """Send a part a signal that ends it, at the moment."""
    pid = house.pid(part)

    def strike() -> None:
        _send(number, pid)
        until(lambda: not parent_of(pid), timeout=ENDS_WITHIN_S, what=f"the {part} has ended")

    return striking(house.records, moment, strike)


@contextmanager
def paused(house: House, moment: Moment, *, part: str) -> Iterator[None]:
    """Stop the only process of a part at the moment, and wait until Keystone kills it."""
    pid = house.pid(part)
    with striking(house.records, moment, partial(_send, signal.SIGSTOP, pid)):
        yield
    until(lambda: not parent_of(pid), timeout=KILLED_WITHIN_S, what=f"the stopped {part} is killed")


def child_killed(house: House, moment: Moment) -> Struck:
    """Kill the process that deploys the app."""
    return _striking_deployer(house, moment, lambda child, _: _send(signal.SIGKILL, child))


def worker_signalled(house: House, moment: Moment, *, number: signal.Signals) -> Struck:
    """Send a signal that ends it to the worker whose child deploys the app."""

    def strike(_: int, worker: int) -> None:
        _send(number, worker)
        until(lambda: not parent_of(worker), timeout=ENDS_WITHIN_S, what="the worker has ended")

    return _striking_deployer(house, moment, strike)


@contextmanager
def worker_paused(house: House, moment: Moment, *, at_least_s: float = 0) -> Iterator[None]:
    """Stop the worker that deploys the app, and its child, until another has deployed it."""
    stopped: list[int] = []

    def strike(child: int, worker: int) -> None:
        stopped.extend((child, worker))
        _send(signal.SIGSTOP, worker)
        _stop_between_records(house, child)

    try:
        with _striking_deployer(house, moment, strike):
            yield
        begun, held = time.monotonic(), partial(_holder, house, moment.app)
        until(lambda: held() != stopped[0], timeout=90, what="the lease was taken over")
        until(lambda: not held(), timeout=120, what="the successor is done")
        time.sleep(max(begun + at_least_s - time.monotonic(), 0))
    finally:
        for pid in stopped:
            with suppress(MissedError):
                _send(signal.SIGCONT, pid)
    child = stopped[0]
    until(lambda: not parent_of(child), timeout=ENDS_WITHIN_S, what="the paused child ends")


def _striking_deployer(house: House, moment: Moment, strike: Callable[[int, int], None]) -> Struck:
    """Call `strike` with the process ids of the child that deploys the app and of its worker."""
    workers = [*house.keystone.parts("worker"), *house.keystone.parts("quick-worker")]

    def find_and_strike() -> None:
        child = _holder(house, moment.app)
        worker = parent_of(child)
        # The watcher may hold the lease for a moment: the fault must not strike the watcher.
        if worker not in workers:
            raise MissedError(f"no worker is deploying {moment.app}")
        strike(child, worker)

    return striking(house.records, moment, find_and_strike)


def _stop_between_records(house: House, child: int) -> None:
    """Stop a child while it does not hold the database's lock, so that only its worker ends it."""
    for _ in range(100):
        _send(signal.SIGSTOP, child)
        with suppress(sqlite3.OperationalError), _locked(house, patience_s=1):
            return
        _send(signal.SIGCONT, child)


@contextmanager
def _locked(house: House, *, patience_s: float) -> Iterator[None]:
    file = house.keystone.data_dir / "keystone.db"
    with closing(sqlite3.connect(file, timeout=patience_s, isolation_level=None)) as database:
        database.execute("BEGIN IMMEDIATE")
        try:
            yield
        finally:
            database.execute("ROLLBACK")


def _holder(house: House, app: str) -> int:
    return house.records.holders().get(app, 0)


def _send(number: signal.Signals, pid: int) -> None:
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        raise MissedError(f"the process {pid} has ended by itself") from None


# --- Clients of the web process --------------------------------------------------------------


@contextmanager
def web_crowded(house: House, _moment: Moment) -> Iterator[None]:
    """Hold as many streams, half-sent heads and half-sent deliveries as the limits allow.

    All come from one address, from which the pushes come too.
    """
    keystone = house.keystone
    stream = (
        f"GET /api/events HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {keystone.token}\r\n\r\n"
    )
    begun = "POST /webhooks/github HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
    signed = f"X-Hub-Signature-256: sha256={'0' * 64}\r\nContent-Length: 1000000\r\n\r\n{{"
    raise_file_limit()
    with ExitStack() as crowd:
        for data, count in ((stream, STREAMS), (begun, HEADS), (begun + signed, BODIES)):
            for _ in range(count):
                crowd.enter_context(_held(keystone.url, data.encode()))
        yield


def _held(url: str, data: bytes) -> AbstractContextManager[socket.socket]:
    """Connect, send data and read nothing; the server may close the connection at once."""
    address = urlsplit(url)
    connection = socket.create_connection((address.hostname or "", address.port or 0), 30)
    with suppress(OSError):
        connection.sendall(data)
    return closing(connection)


# --- Redis, the database, the disk -----------------------------------------------------------


def redis_flushed(house: House, moment: Moment) -> Struck:
    """Flush Redis at the moment."""

    def flush() -> None:
        socket = house.keystone.data_dir / "run" / "redis" / "redis.sock"
        with Redis(unix_socket_path=str(socket)) as redis:
            redis.flushall()

    return striking(house.records, moment, flush)


@contextmanager
def redis_down(house: House, _moment: Moment) -> Iterator[None]:
    """Keep Redis down while pushes arrive."""
    over = threading.Event()

    def keep_killing() -> None:
        while not over.wait(0.05):
            house.keystone.kill_part("redis")

    thread = threading.Thread(target=keep_killing)
    thread.start()
    try:
        until(lambda: not house.keystone.parts("redis"), timeout=60, what="Redis is down")
        yield
        time.sleep(REDIS_DOWN_S)
    finally:
        over.set()
        thread.join(60)


@contextmanager
def redis_hung(house: House, _moment: Moment) -> Iterator[None]:
    """Stop Redis, so that it does not answer while pushes arrive."""
    pid = house.pid("redis")
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
        time.sleep(REDIS_DOWN_S)
    finally:
        # Keystone kills a Redis that hangs for 20 s.
        with suppress(MissedError):
            _send(signal.SIGCONT, pid)


@contextmanager
def database_locked(house: House, moment: Moment) -> Iterator[None]:
    """Hold the database's write lock for eight seconds from the moment on."""
    over = threading.Event()

    def lock() -> None:
        with _locked(house, patience_s=60):
            over.wait(DATABASE_LOCKED_S)

    with striking(house.records, moment, lock):
        yield


@contextmanager
def disk_full(house: House, moment: Moment) -> Iterator[None]:
    """Fill the data directory's disk for two seconds from the moment on."""
    with striking(house.records, moment, partial(_fill, house.folder)):
        yield


def _fill(folder: Path) -> None:
    ballast = folder / "ballast"
    try:
        with ballast.open("wb", buffering=0) as file, suppress(OSError):
            while True:
                file.write(b"\0" * 4096)
        time.sleep(DISK_FULL_S)
    finally:
        ballast.unlink(missing_ok=True)


# --- What Keystone depends on ----------------------------------------------------------------


@contextmanager
def misbehaving(
    house: House, _moment: Moment, *, who: Callable[[House], RecordingServer], by: Misbehaviour
) -> Iterator[None]:
    """Make GitHub's API or the git server misbehave while pushes arrive."""
    server = who(house)
    server.fail(by)
    asked_before = len(server.requests)
    try:
        yield
        # A client from the previous round may still wait for an answer.
        with suppress(AssertionError):
            until(lambda: len(server.requests) > asked_before, timeout=MET_WITHIN_S)
        time.sleep(OUTAGE_S)
    finally:
        server.heal()
    if len(server.requests) == asked_before:
        raise MissedError(f"nobody asked {server.url} meanwhile")


@contextmanager
def git_hanging(house: House, moment: Moment) -> Iterator[None]:
    """Block the git server's answers until Keystone gives up."""

    def has_given_up() -> bool:
        rows = house.records.deployments(after=moment.after)
        return any(row.state == "error" for row in rows)

    house.git.gate.clear()
    try:
        yield
        until(has_given_up, timeout=120, what="Keystone gives up on git")
    finally:
        house.git.gate.set()


@contextmanager
def stray_container(house: House, moment: Moment) -> Iterator[None]:
    """Start a container from an app's image by hand: it has our labels but is not Keystone's."""
    started: list[Container] = []

    def start() -> None:
        image = house.holdings.images()[0]
        started.append(house.holdings.client.containers.run(image, detach=True))

    try:
        with striking(house.records, moment, start):
            yield
        time.sleep(SWEPT_WITHIN_S)
        for container in started:
            container.reload()
            assert container.status == "running", "Keystone has ended what it did not start"
    finally:
        for container in started:
            container.remove(force=True)


@contextmanager
def dying(house: House, moment: Moment) -> Iterator[None]:
    """Push releases that go live and die repeatedly; wait until all of them are withdrawn."""
    yield
    until(
        lambda: not house.records.unsettled(after=moment.after),
        timeout=WITHDRAWN_WITHIN_S,
        what="what dies is withdrawn, and what served before serves again",
    )
    if not house.records.recoveries(after=moment.after):
        raise MissedError("nothing that was pushed went live")


@contextmanager
def dying_unwatched(house: House, moment: Moment) -> Iterator[None]:
    """Push dying releases as `dying` does, and kill the watcher that should notice."""
    with (
        dying(house, moment),
        signalled(house, moment, part="watcher", number=signal.SIGKILL),
    ):
        yield


# --- The house's own engine ------------------------------------------------------------------


def engine_killed(house: House, moment: Moment, *, options: tuple[str, ...] = ()) -> Struck:
    """Kill the engine at the moment, and start it again with these options."""
    return striking(house.records, moment, lambda: house.own_engine.kill(*options))


def engine_full(house: House, moment: Moment) -> Struck:
    """Fill the engine's disk for two seconds from the moment on."""
    return striking(house.records, moment, lambda: _fill(house.own_engine.disk))


# --- The router ------------------------------------------------------------------------------


@contextmanager
def router_crowded(house: House, _moment: Moment) -> Iterator[None]:
    """Hold half-sent requests to every app, from one address, while pushes arrive."""
    with ExitStack() as held:
        for project in house.projects:
            for _ in range(CROWD):
                with suppress(OSError):  # the router has no more places
                    held.enter_context(_half_sent(project.port))
        yield


def _half_sent(port: int) -> socket.socket:
    connection = socket.create_connection(("127.0.0.1", port), 10, (STRANGER, 0))
    with suppress(OSError):
        connection.sendall(b"GET / HTTP/1.1\r\nHost: stranger.example\r\nX-Held: ")
    return connection


# --- All of them -----------------------------------------------------------------------------


def _github(name: str, **how: object) -> tuple[str, Fault]:
    by = Misbehaviour(**how)  # type: ignore[arg-type]
    strike = partial(misbehaving, who=lambda house: house.github, by=by)
    return f"GitHub fails: {name}", Fault(strike)


def _git(name: str, by: Misbehaviour) -> tuple[str, Fault]:
    strike = partial(misbehaving, who=lambda house: house.git, by=by)
    return f"git server fails: {name}", Fault(strike, ANY_REASON)


def _killed(part: str, *, is_router: bool = False) -> tuple[str, Fault]:
    strike = partial(signalled, part=part, number=signal.SIGKILL)
    fault = Fault(strike, cuts_visitors=is_router, refuses_pushes=is_router, weight=3)
    return f"{part} killed", fault


HTML = {"Content-Type": "text/html"}
FAULTS: Mapping[str, Fault] = {
    "none but a crowd at the router": Fault(router_crowded),
    "worker's child killed": Fault(child_killed, WORKER_KILLED, weight=3),
    "worker killed": Fault(
        partial(worker_signalled, number=signal.SIGKILL), WORKER_KILLED, weight=3
    ),
    "worker told to stop": Fault(partial(worker_signalled, number=signal.SIGTERM), weight=3),
    "worker paused": Fault(worker_paused, WORKER_KILLED, is_slow=True, weight=4),
    **dict([_killed("web"), _killed("watcher"), _killed("redis")]),
    **dict([_killed("router", is_router=True)]),
    "Keystone stopped": Fault(endings.keystone_stopped, weight=3),
    "Keystone killed": Fault(endings.keystone_killed, WORKER_KILLED, weight=3),
    "Keystone upgraded": Fault(endings.keystone_upgraded, weight=3),
    "router reloaded": Fault(endings.router_reloaded, weight=3),
    "router's program replaced": Fault(endings.router_replaced),
    "router's keeper killed": Fault(endings.keeper_killed),
    "router killed while Keystone is down": Fault(
        endings.router_killed_while_down,
        WORKER_KILLED,
        is_slow=True,
        cuts_visitors=True,
        refuses_pushes=True,
    ),
    "web process crowded": Fault(web_crowded),
    "redis flushed": Fault(redis_flushed, weight=3),
    "redis down": Fault(redis_down),
    "redis hangs": Fault(redis_hung),
    "database locked 8 s": Fault(database_locked, refuses_pushes=True, weight=3),
    "disk full": Fault(disk_full, ANY_REASON, refuses_pushes=True, weight=3),
    "stray container": Fault(stray_container, weight=3),
    "release dies": Fault(dying, WITHDRAWN, cuts_visitors=True, behaviour=DIES),
    "release dies, watcher killed": Fault(
        dying_unwatched, WITHDRAWN, cuts_visitors=True, behaviour=DIES
    ),
    **dict(_github(str(status), status=status) for status in (401, 403, 404, 422, 429, 500)),
    **dict([_github("307", status=307, headers={"Location": "http://127.0.0.1:9/"})]),
    **dict([_github("HTML", status=200, headers=HTML, body=b"<html>a proxy</html>")]),
    **dict([_github("hangs", hang=True), _github("resets", reset=True)]),
    **dict(_git(str(status), Misbehaviour(status=status)) for status in (401, 404)),
    **dict([_git("redirects", Misbehaviour.redirect("http://127.0.0.1:9/"))]),
    "git server fails: hangs": Fault(git_hanging, ANY_REASON, is_slow=True),
}
# Faults that take too long for the tests; only `make faults` plays them.
LONG_FAULTS: Mapping[str, Fault] = {
    "watcher paused": Fault(partial(paused, part="watcher")),
    "worker paused 2 min": Fault(
        partial(worker_paused, at_least_s=LONG_PAUSE_S), WORKER_KILLED, is_slow=True
    ),
}
# Faults that need a house with its own engine.
ENGINE_FAULTS: Mapping[str, Fault] = {
    "engine killed, containers live on": Fault(
        partial(engine_killed, options=(LIVE_RESTORE,)), ANY_REASON, weight=2
    ),
    "engine killed": Fault(engine_killed, ANY_REASON, cuts_visitors=True),
    "engine's disk full": Fault(engine_full, ANY_REASON),
    **{
        f"machine rebooted, engine {name}": Fault(
            partial(endings.rebooted, engine_first=name == "first"),
            ANY_REASON,
            cuts_visitors=True,
            refuses_pushes=True,
        )
        for name in ("first", "last")
    },
}
