"""Measures each page with a million deployments of 500 apps, and the size of the overview.

Also measures the page of a deployment whose log has 200,000 lines and was never read before.

The requests go to the web process's whole application, without a socket: middleware, session,
queries, template. The database is like that of a Keystone that has run for years.
"""

import asyncio
import tempfile
import time
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pydantic import SecretStr
from starlette.types import ASGIApp, Message, Scope

from jobs.processes.runtime import Runtime, open_runtime
from jobs.records.logins import open_session
from jobs.rules.actors import Actor
from jobs.rules.redaction import Redactor
from jobs.settings import WebSettings
from jobs.states import ActorKind, Role
from jobs.storage.deployment_log import DeploymentLog, log_path
from jobs.storage.models import User
from receiver.app import create_app
from tests.benchmarks.crowd import Crowd, fill
from tests.benchmarks.tables import median, ms, percentile, say, show
from tests.build_events import output
from tests.builders import cookie_name

ROUNDS = 30
WITHIN_S = 0.060
OVERVIEW_BYTES = 60 * 1024
OVERVIEW = "/"
PEOPLE = ("/users", "/tokens", "/account")
LOG_LINES = 200_000
LOG_OPENS_WITHIN_S = 1.0
LOG_ROUNDS = 5
HEAD = ("page", "median, ms", "95 %", "at work", "KB")


@dataclass(frozen=True)
class Seen:
    """The results of repeated requests to one URL."""

    address: str
    times: Sequence[float]
    worked: Sequence[float]  # the part of these times in which this process had the processor
    length: int  # size of the last answer in bytes


def addresses(crowd: Crowd) -> list[str]:
    """Give the URL of every page, with its filters and with its last cursor."""
    some, middle, last = crowd.apps // 4, crowd.deployments // 2, crowd.deployments
    app, repository = f"/apps/app-{some:03d}", f"octo/repository-{some}"
    return [
        OVERVIEW,
        "/?state=stopped",
        "/?q=49",
        "/?state=attention",
        f"/?after=app-{crowd.apps - 10:03d}",
        app,
        f"{app}?before={middle}",
        f"{app}?before={2 * crowd.apps}",
        f"{app}?state=error",
        f"{app}?trigger=catch_up",
        f"{app}?author=grace&state=failure",
        f"{app}?text=number+1123",
        f"{app}?text=there+is+no+such+thing",
        f"/deployments/{last - 1}",
        f"/deployments/{last // 3}",
        "/deliveries",
        f"/deliveries?before={crowd.deliveries // 2}",
        "/deliveries?before=40",
        "/deliveries?outcome=ignored",
        "/deliveries?outcome=duplicate",
        "/deliveries?event=ping",
        f"/deliveries?repository={repository}",
        f"/deliveries?repository={repository}&outcome=ignored&before={crowd.deliveries // 2}",
        "/deliveries?text=there+is+no+such+thing",
        "/audit",
        "/audit?before=40",
        "/audit?actor=user:ada",
        "/audit?tag=login",
        "/audit?tag=token",
        f"/audit?target=deployment:{last // 2}",
        "/audit?since=2026-11-01&until=2026-11-02",
        "/login",
        *_of_admins(app),
    ]


def _of_admins(app: str) -> list[str]:
    parts = ("", "/variables", "/domains", "/repository", "/remove")
    return ["/apps/new", *(f"{app}/settings{part}" for part in parts), *PEOPLE]


def run() -> bool:
    """Fill a database, request every page, print the times; say whether the goals were met."""
    crowd = Crowd()
    with tempfile.TemporaryDirectory(prefix="keystone-bench-") as name:
        runtime = open_filled(Path(name), crowd)
        say(f"\n{crowd.deployments:,} deployments of {crowd.apps} apps, {ROUNDS} rounds")
        seen = measure(runtime, addresses(crowd), rounds=ROUNDS)
        opened = measure_log(runtime, crowd.deployments - crowd.apps, rounds=LOG_ROUNDS)
        runtime.database.close()
    show("Server time of the pages", HEAD, [_row(each) for each in seen])
    show(f"A log of {LOG_LINES:,} lines, never read before", HEAD, [_row(each) for each in opened])
    return _judge(seen) & _judge_log(opened)


def open_filled(folder: Path, crowd: Crowd) -> Runtime[WebSettings]:
    """Create a Keystone's data directory, and fill its database."""
    runtime = open_runtime(
        WebSettings(data_dir=folder, secret_key=SecretStr("a key that opens nothing"))
    )
    runtime.database.close()
    begun = time.monotonic()
    fill(folder / "keystone.db", crowd)
    say(f"filled in {time.monotonic() - begun:.0f} s")
    return runtime


def measure(runtime: Runtime[WebSettings], wanted: Sequence[str], *, rounds: int) -> list[Seen]:
    """Request each URL that many times, as an admin's browser would.

    Raises:
        RuntimeError: an answer was not a page.
    """
    return asyncio.run(_ask_all(create_app(runtime), _log_in(runtime), wanted, rounds))


def measure_log(
    runtime: Runtime[WebSettings], deployment: int, *, rounds: int, lines: int = LOG_LINES
) -> list[Seen]:
    """Give a deployment a long log, and open it each time like a process that never read it."""
    path = log_path(runtime.settings.logs_dir, deployment)
    log = DeploymentLog(path, Redactor())
    for number in range(lines):
        log.write("build", output(7, f"compiled module {number} of many, without a warning"))
    log.close()
    say(f"\nwrote a log of {lines:,} lines, {path.stat().st_size / 1024**2:.0f} MiB")
    page, cookie = f"/deployments/{deployment}", _log_in(runtime)
    wanted = (
        page,
        f"{page}/lines?first=1",
        f"{page}/lines?first={lines - 500}",
        f"{page}/matches?text=module+{lines // 2}",
        f"/api{page}/outline",
    )
    return [asyncio.run(_open_anew(runtime, cookie, address, rounds)) for address in wanted]


async def _open_anew(runtime: Runtime[WebSettings], cookie: str, address: str, rounds: int) -> Seen:
    await _ask(
        create_app(runtime), cookie, "/login"
    )  # this loads the templates, which happens once
    # Each application has its own cache of logs, like a separate process.
    answers = [await _ask(create_app(runtime), cookie, address) for _ in range(rounds)]
    times, worked, lengths = zip(*answers, strict=True)
    return Seen(address, times, worked, lengths[-1])


def _log_in(runtime: Runtime[WebSettings]) -> str:
    with runtime.database.writing() as session:
        user = User(name=f"ada-{uuid.uuid4().hex[:8]}", role=Role.ADMIN, password_hash="none")
        session.add(user)
        session.flush()
        opened = open_session(session, user, Actor(ActorKind.USER, user.name))
    return f"{cookie_name(runtime)}={opened.cookie.get_secret_value()}"


async def _ask_all(app: ASGIApp, cookie: str, wanted: Sequence[str], rounds: int) -> list[Seen]:
    seen = []
    for address in wanted:
        await _ask(app, cookie, address)  # the first request loads templates and plans queries
        answers = [await _ask(app, cookie, address) for _ in range(rounds)]
        times, worked, lengths = zip(*answers, strict=True)
        seen.append(Seen(address, times, worked, lengths[-1]))
    return seen


async def _ask(app: ASGIApp, cookie: str, address: str) -> tuple[float, float, int]:
    path, _, query = address.partition("?")
    headers = [(b"host", b"testserver"), (b"cookie", cookie.encode())]
    scope: Scope = {
        "type": "http",
        "http_version": "1.1",
        "method": "GET",
        "scheme": "http",
        "path": path,
        "raw_path": path.encode(),
        "root_path": "",
        "query_string": query.encode(),
        "headers": headers,
        "server": ("testserver", 80),
        "client": ("127.0.0.1", 5000),
    }
    sent: list[Message] = []

    async def receive() -> Message:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: Message) -> None:
        sent.append(message)

    begun, begun_work = time.perf_counter(), time.process_time()
    await app(scope, receive, send)
    took, worked = time.perf_counter() - begun, time.process_time() - begun_work
    status = sent[0]["status"]
    if status != 200 and path != "/login":
        raise RuntimeError(f"{address} was answered {status}")
    return took, worked, sum(len(message.get("body", b"")) for message in sent)


def _row(seen: Seen) -> tuple[str, ...]:
    times = (median(seen.times), percentile(seen.times, 95), median(seen.worked))
    return (seen.address, *map(ms, times), f"{seen.length / 1024:.1f}")


def _judge_log(opened: Sequence[Seen]) -> bool:
    slow = [each.address for each in opened if median(each.times) > LOG_OPENS_WITHIN_S]
    if slow:
        say(f"\n  slower than {LOG_OPENS_WITHIN_S:g} s: {', '.join(slow)}")
    return not slow


def _judge(seen: Sequence[Seen]) -> bool:
    slow = [each.address for each in seen if median(each.times) > WITHIN_S]
    large = [
        each.address for each in seen if each.address == OVERVIEW and each.length > OVERVIEW_BYTES
    ]
    for words, missed in (("slower than 60 ms", slow), ("larger than 60 KB", large)):
        if missed:
            say(f"\n  {words}: {', '.join(missed)}")
    return not slow and not large
