"""Keystone's router beside a plain HAProxy that always reuses connections, before the same app.

GETs over 32 connections: short runs in turns, of which the medians are compared. POSTs: the app
closes connections that were idle for 50 ms, and the visitors pause for about as long, so that many
requests come at the very moment when the app closes a connection. None may be lost, and none may
reach the app twice. POSTS=n sends another number than 250,000.

The router runs with the configuration and the environment that Keystone gives it.
"""

import os
import re
import shutil
import subprocess
import tempfile
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from jobs.rules.container_values import Route
from tests.acceptance.keystone import until
from tests.benchmarks.tables import median, say, show
from tests.haproxy import LOCALHOST, free_ports, haproxy_program, running_router
from tests.images import compile_web, own_path

GOAL = 0.9
ROUNDS, ROUND_S = 11, 2
CONNECTIONS = 32
POSTS = 250_000
IDLE_MS = 50
# Visitors of three kinds: method, connections, and the shortest and longest pause in ms.
VISITORS = (("POST", 256, 30, 70), ("POST", 16, 45, 55), ("GET", 16, 45, 55))
LONGEST_RUN_S = 20

# What an operator would write who wants speed only.
PLAIN = """\
defaults
    mode http
    timeout client 60s
    timeout connect 5s
    timeout server 60s
    http-reuse always
frontend visitors
    bind {host}:{port}
    default_backend app
backend app
    server app {app}
"""


@dataclass
class Posts:
    """What became of the POSTs."""

    answered: int = 0
    lost: int = 0
    gets: int = 0
    gets_lost: int = 0
    received: int = 0  # by the app
    open: int = 0  # those that may have been under way when the visitors left

    @property
    def is_good(self) -> bool:
        """Whether none was lost, and none reached the app twice."""
        twice = self.received > self.answered + self.open
        return not self.lost and not self.gets_lost and not twice

    def row(self, name: str) -> list[str]:
        """Give the row of the table."""
        found = (self.answered, self.lost, self.received, self.gets, self.gets_lost)
        return [name, *map(str, found)]


@dataclass
class Speeds:
    """The requests per second of each run."""

    keystone: list[float] = field(default_factory=list)
    plain: list[float] = field(default_factory=list)

    @property
    def ratio(self) -> float:
        """Keystone's router relative to the plain one, by their medians."""
        return median(self.keystone) / median(self.plain)


def run() -> bool:
    """Measure, print, and say whether both goals are reached."""
    speeds = measure_gets(rounds=ROUNDS, seconds=ROUND_S)
    rows = [
        [name, f"{median(found):,.0f}", f"{min(found):,.0f}", f"{max(found):,.0f}"]
        for name, found in (("Keystone's router", speeds.keystone), ("plain", speeds.plain))
    ]
    title = f"GETs over {CONNECTIONS} connections, {ROUNDS} runs of {ROUND_S} s each"
    show(title, ["", "requests/s, median", "lowest", "highest"], rows)
    say(f"\n  ratio: {speeds.ratio:.2f} (goal: {GOAL} or more)")
    wanted = int(os.environ.get("POSTS", str(POSTS)))
    posts, plain = measure_posts(wanted), measure_posts(wanted // 10, is_plain=True)
    show(
        f"POSTs to an app that closes idle connections after {IDLE_MS} ms, with GETs beside them",
        ["", "POSTs", "lost", "received", "GETs", "lost"],
        [posts.row("Keystone's router"), plain.row("plain")],
    )
    say(f"\n  lost or doubled: {'none' if posts.is_good else 'some'} (goal: none)")
    return speeds.ratio >= GOAL and posts.is_good


def measure_gets(*, rounds: int, seconds: int) -> Speeds:
    """Let `wrk` load both in turns, at full speed."""
    speeds = Speeds()
    with ExitStack() as stack:
        app = stack.enter_context(_app())
        keystone = stack.enter_context(_keystone(app))
        plain = stack.enter_context(_plain(app))
        for _ in range(rounds):
            for port, found in ((keystone, speeds.keystone), (plain, speeds.plain)):
                told = _finished(_wrk(port, CONNECTIONS, seconds))
                assert not _failed(told), told
                found.append(_number(r"Requests/sec:\s+([\d.]+)", told))
    return speeds


def measure_posts(wanted: int, *, is_plain: bool = False) -> Posts:
    """Send at least that many POSTs."""
    posts = Posts()
    with ExitStack() as stack:
        app = stack.enter_context(_app(idle_ms=IDLE_MS))
        port = stack.enter_context(_plain(app) if is_plain else _keystone(app))
        scripts = _scripts(Path(stack.enter_context(tempfile.TemporaryDirectory())))
        rate = 0.0
        while posts.answered < wanted:
            left = wanted - posts.answered
            seconds = min(LONGEST_RUN_S, int(left / rate) + 1) if rate else 1
            before = posts.answered
            _visit(port, seconds, scripts, posts)
            rate = max(1.0, (posts.answered - before) / seconds)
        with urllib.request.urlopen(f"http://{app}/posts", timeout=60) as answer:
            posts.received = int(answer.read())
    return posts


def _visit(port: int, seconds: int, scripts: Sequence[Path], posts: Posts) -> None:
    """Send visitors of every kind at once, and add up what became of their requests."""
    started = [
        (method, count, _wrk(port, count, seconds, script))
        for (method, count, *_), script in zip(VISITORS, scripts, strict=True)
    ]
    for method, count, process in started:
        told = _finished(process)
        answered, failed = int(_number(r"(\d+) requests in", told)), _failed(told)
        if method == "POST":
            posts.answered += answered
            posts.lost += failed
            posts.open += count
        else:
            posts.gets += answered
            posts.gets_lost += failed


def _scripts(folder: Path) -> list[Path]:
    """Write what `wrk` is to do, for each kind of visitor."""
    scripts = []
    for number, (method, _, shortest, longest) in enumerate(VISITORS):
        script = folder / f"{number}.lua"
        body = 'wrk.body = string.rep("x", 300)\n' if method == "POST" else ""
        script.write_text(
            f'wrk.method = "{method}"\n{body}math.randomseed({number})\n'
            f"function delay() return math.random({shortest}, {longest}) end\n"
        )
        scripts.append(script)
    return scripts


def _wrk(
    port: int, connections: int, seconds: int, script: Path | None = None
) -> subprocess.Popen[str]:
    program = shutil.which("wrk")
    assert program, "wrk is not installed; `apt-get install wrk`"
    extra = [] if script is None else ["-s", str(script)]
    command = [program, "-t1", f"-c{connections}", f"-d{seconds}s", *extra]
    command.append(f"http://{LOCALHOST}:{port}/version")
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def _finished(process: subprocess.Popen[str]) -> str:
    told, _ = process.communicate(timeout=LONGEST_RUN_S + 60)
    return told


def _failed(told: str) -> int:
    errors = r"Socket errors: connect (\d+), read (\d+), write (\d+), timeout (\d+)"
    found = [re.search(errors, told), re.search(r"Non-2xx or 3xx responses: (\d+)", told)]
    return sum(int(number) for each in found if each for number in each.groups())


def _number(pattern: str, told: str) -> float:
    found = re.search(pattern, told)
    assert found, told
    return float(found[1])


@contextmanager
def _app(*, idle_ms: int = 0) -> Iterator[str]:
    """Run the test web server on this machine, and give its address."""
    (port,) = free_ports(1)
    environment = {"PORT": str(port), "IDLE_MS": str(idle_ms)}
    command = [str(compile_web(own_path("images")))]
    with subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL) as process:
        try:
            until(lambda: _answers(port), timeout=60, what="the app answers")
            yield f"{LOCALHOST}:{port}"
        finally:
            process.kill()


@contextmanager
def _keystone(app: str) -> Iterator[int]:
    """Run Keystone's router before the app, and give the port."""
    with tempfile.TemporaryDirectory() as folder, running_router(Path(folder)) as router:
        port = router.ports[0]
        router.adapter.switch(Route(port, "a", app))
        yield port


@contextmanager
def _plain(app: str) -> Iterator[int]:
    """Run a plain HAProxy before the app, and give the port."""
    (port,) = free_ports(1)
    text = PLAIN.format(host=LOCALHOST, port=port, app=app)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "haproxy.cfg"
        file.write_text(text)
        with subprocess.Popen([haproxy_program(), "-db", "-f", file]) as process:
            try:
                until(lambda: _answers(port), timeout=60, what="the plain HAProxy answers")
                yield port
            finally:
                process.kill()


def _answers(port: int) -> bool:
    try:
        with urllib.request.urlopen(f"http://{LOCALHOST}:{port}/version", timeout=60):
            return True
    except OSError:
        return False
