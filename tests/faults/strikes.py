"""The faults: what each breaks, for how long, and how a deployment may end because of it."""

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
    nullcontext,
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
from tests.faults.engine import LIVE_RESTORE, OwnEngine
from tests.faults.house import House
from tests.faults.moments import MissedError, Moment, striking
from tests.faults.verdict import NEVER
from tests.recorder import Fault as Misbehaviour
from tests.recorder import RecordingServer

DATABASE_LOCKED_S = 8.0
DISK_FULL_S = 2.0
REDIS_DOWN_S = 2.0
OUTAGE_S = 1.0
MET_WITHIN_S = 45.0  # somebody who hangs gives up after 10 s
ENDS_WITHIN_S = 60.0
KILLED_WITHIN_S = 90.0  # one that is stopped, after twenty seconds
LONG_PAUSE_S = 120.0
STREAMS, HEADS, BODIES = 799, 830, 300
SWEPT_WITHIN_S = 8.0  # the watcher does it every five seconds
WORKER_KILLED = re.compile("^the worker was killed in (release|start|health_check|switch)")
ANY_REASON = re.compile(".")
WITHDRAWN = re.compile("^its container ended .* within 60 s of going live")
WITHDRAWN_WITHIN_S = 150.0
DIES = "dies 400"  # milliseconds after each start: later than the switch, on most machines

Struck = AbstractContextManager[None]
Strike = Callable[[House, Moment], Struck]


@dataclass(frozen=True)
class Fault:
    """One way to break Keystone.

    Attributes:
        strike: what is broken while its block runs, which is as long as things are pushed; at its
            end it says by a `MissedError` that it met nobody.
        excuse: reasons for which the deployments it strikes may end without success.
        is_slow: a round of it takes half a minute or more.
        cuts_visitors: what is broken is what visitors speak to.
        behaviour: what is wrong with the apps that are pushed, in the words of `tests/web.c`.
        weight: how often it is drawn, beside the others; one that strikes at a step is drawn often
            enough to strike at every one in 200 rounds.
    """

    strike: Strike
    excuse: re.Pattern[str] = NEVER
    is_slow: bool = False
    cuts_visitors: bool = False
    behaviour: str = ""
    weight: int = 1


# --- Processes -------------------------------------------------------------------------------


def signalled(house: House, moment: Moment, *, part: str, number: signal.Signals) -> Struck:
    """Send a part a signal at the moment that ends it."""
    pid = house.pid(part)

    def strike() -> None:
        _send(number, pid)
        until(lambda: not parent_of(pid), timeout=ENDS_WITHIN_S, what=f"the {part} has ended")

    return striking(house.records, moment, strike)


@contextmanager
def paused(house: House, moment: Moment, *, part: str) -> Iterator[None]:
    """Stop a part of which there is no other at the moment, until it was killed for that."""
    pid = house.pid(part)
    with striking(house.records, moment, partial(_send, signal.SIGSTOP, pid)):
        yield
    until(lambda: not parent_of(pid), timeout=KILLED_WITHIN_S, what=f"the stopped {part} is killed")


def child_killed(house: House, moment: Moment) -> Struck:
    """Kill the process that deploys the app."""
    return _striking_deployer(house, moment, lambda child, _: _send(signal.SIGKILL, child))


def worker_signalled(house: House, moment: Moment, *, number: signal.Signals) -> Struck:
    """Send the worker a signal that ends it whose child deploys the app."""

    def strike(_: int, worker: int) -> None:
        _send(number, worker)
        until(lambda: not parent_of(worker), timeout=ENDS_WITHIN_S, what="the worker has ended")

    return _striking_deployer(house, moment, strike)


@contextmanager
def worker_paused(house: House, moment: Moment, *, at_least_s: float = 0) -> Iterator[None]:
    """Stop the worker whose child deploys the app, and the child, until another has done it."""
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
    """Strike the child that deploys the app, and its worker: both process ids are handed over."""
    workers = house.keystone.parts("worker")

    def find_and_strike() -> None:
        child = _holder(house, moment.app)
        worker = parent_of(child)
        # For a moment the watcher may be the holder: it is not to be struck instead.
        if worker not in workers:
            raise MissedError(f"no worker is deploying {moment.app}")
        strike(child, worker)

    return striking(house.records, moment, find_and_strike)


def _stop_between_records(house: House, child: int) -> None:
    """Stop a child when it does not hold the database's lock: then only its worker could end it."""
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


# --- Who comes to the web process ------------------------------------------------------------


@contextmanager
def web_crowded(house: House, _moment: Moment) -> Iterator[None]:
    """Hold as many streams, half-sent heads and half-sent deliveries as can be had meanwhile.

    From one address, which is also the one that pushes come from.
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
    """Connect, send something and read nothing; it may have to make way at once."""
    address = urlsplit(url)
    connection = socket.create_connection((address.hostname or "", address.port or 0), 30)
    with suppress(OSError):
        connection.sendall(data)
    return closing(connection)


# --- Redis, the database, the disk -----------------------------------------------------------


def redis_flushed(house: House, moment: Moment) -> Struck:
    """Empty Redis at the moment."""

    def flush() -> None:
        socket = house.keystone.data_dir / "run" / "redis" / "redis.sock"
        with Redis(unix_socket_path=str(socket)) as redis:
            redis.flushall()

    return striking(house.records, moment, flush)


@contextmanager
def redis_down(house: House, _moment: Moment) -> Iterator[None]:
    """Have no Redis for the whole push."""
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
    """Have a Redis that does not answer for the whole push."""
    pid = house.pid("redis")
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
        time.sleep(REDIS_DOWN_S)
    finally:
        # A Redis that hangs for twenty seconds is killed.
        with suppress(MissedError):
            _send(signal.SIGCONT, pid)


@contextmanager
def database_locked(house: House, moment: Moment) -> Iterator[None]:
    """Have somebody else write to the database for eight seconds, from the moment on."""
    over = threading.Event()

    def lock() -> None:
        with _locked(house, patience_s=60):
            over.wait(DATABASE_LOCKED_S)

    with striking(house.records, moment, lock):
        yield


@contextmanager
def disk_full(house: House, moment: Moment) -> Iterator[None]:
    """Leave no byte of the data directory's disk free, from the moment on, for two seconds."""
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
    """Have GitHub's API or the git server misbehave while things are pushed."""
    server = who(house)
    server.fail(by)
    asked_before = len(server.requests)
    try:
        yield
        # The round before may have left somebody who still waits for an answer.
        with suppress(AssertionError):
            until(lambda: len(server.requests) > asked_before, timeout=MET_WITHIN_S)
        time.sleep(OUTAGE_S)
    finally:
        server.heal()
    if len(server.requests) == asked_before:
        raise MissedError(f"nobody asked {server.url} meanwhile")


@contextmanager
def git_hanging(house: House, moment: Moment) -> Iterator[None]:
    """Have the git server not answer until Keystone gives up on it."""

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
    """Have somebody start a container from an app's image: its labels are ours, it is not."""
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
    """Have what is pushed go live and die, again and again; wait until all of it is taken back."""
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
    """The same, with the watcher killed that is to see it."""
    with (
        dying(house, moment),
        signalled(house, moment, part="watcher", number=signal.SIGKILL),
    ):
        yield


# --- An engine of its own --------------------------------------------------------------------


def engine_killed(house: House, moment: Moment, *, options: tuple[str, ...] = ()) -> Struck:
    """Kill the engine at the moment; it is started again with these options."""
    return striking(house.records, moment, lambda: _own(house).kill(*options))


def engine_full(house: House, moment: Moment) -> Struck:
    """Leave no byte of the engine's disk free, from the moment on, for two seconds."""
    return striking(house.records, moment, lambda: _fill(_own(house).disk))


def _own(house: House) -> OwnEngine:
    assert house.engine is not None, "nobody may break the machine's engine"
    return house.engine


# --- All of them -----------------------------------------------------------------------------


def _github(name: str, **how: object) -> tuple[str, Fault]:
    by = Misbehaviour(**how)  # type: ignore[arg-type]
    strike = partial(misbehaving, who=lambda house: house.github, by=by)
    return f"GitHub fails: {name}", Fault(strike)


def _git(name: str, by: Misbehaviour) -> tuple[str, Fault]:
    strike = partial(misbehaving, who=lambda house: house.git, by=by)
    return f"git server fails: {name}", Fault(strike, ANY_REASON)


def _killed(part: str, *, cuts_visitors: bool = False) -> tuple[str, Fault]:
    strike = partial(signalled, part=part, number=signal.SIGKILL)
    return f"{part} killed", Fault(strike, cuts_visitors=cuts_visitors, weight=3)


HTML = {"Content-Type": "text/html"}
FAULTS: Mapping[str, Fault] = {
    "none": Fault(lambda _house, _moment: nullcontext()),
    "worker's child killed": Fault(child_killed, WORKER_KILLED, weight=3),
    "worker killed": Fault(
        partial(worker_signalled, number=signal.SIGKILL), WORKER_KILLED, weight=3
    ),
    "worker told to stop": Fault(partial(worker_signalled, number=signal.SIGTERM), weight=3),
    "worker paused": Fault(worker_paused, WORKER_KILLED, is_slow=True, weight=4),
    **dict([_killed("web"), _killed("watcher"), _killed("redis")]),
    **dict([_killed("router", cuts_visitors=True)]),
    "web process crowded": Fault(web_crowded),
    "redis flushed": Fault(redis_flushed, weight=3),
    "redis down": Fault(redis_down),
    "redis hangs": Fault(redis_hung),
    "database locked 8 s": Fault(database_locked, weight=3),
    "disk full": Fault(disk_full, ANY_REASON, weight=3),
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
# Those that only `make faults` has the time for.
LONG_FAULTS: Mapping[str, Fault] = {
    "watcher paused": Fault(partial(paused, part="watcher")),
    "worker paused 2 min": Fault(
        partial(worker_paused, at_least_s=LONG_PAUSE_S), WORKER_KILLED, is_slow=True
    ),
}
# Those that only a house with an engine of its own can stand.
ENGINE_FAULTS: Mapping[str, Fault] = {
    "engine killed, containers live on": Fault(
        partial(engine_killed, options=(LIVE_RESTORE,)), ANY_REASON, weight=2
    ),
    "engine killed": Fault(engine_killed, ANY_REASON, cuts_visitors=True),
    "engine's disk full": Fault(engine_full, ANY_REASON),
}
