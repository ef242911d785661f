"""Fifty viewers of one live log: the web process's load, and the delay of each line.

The web process runs as under `keystone up`. Each viewer is one connection of this process that
sends the same requests as a page. Each line contains the time at which it was written.
"""

import asyncio
import math
import os
import re
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from jobs.processes.configuration import read_settings
from jobs.processes.runtime import Runtime, open_runtime
from jobs.processes.web_server import web_command
from jobs.rules.redaction import Redactor
from jobs.settings import WebSettings
from jobs.states import DeploymentState, Role
from jobs.storage.deployment_log import DeploymentLog, log_path
from receiver.api.streams import MOST_OF_ONE
from tests.benchmarks.tables import median, ms, percentile, say, show
from tests.build_events import output
from tests.builders import make_app, make_deployment, make_token
from tests.haproxy import free_ports

VIEWERS, SECONDS, LINES_A_SECOND = 50, 20.0, 20
MOST_OF_A_CORE, LATEST_S = 0.20, 0.5
WRITTEN = re.compile(rb"written at (\d+\.\d+)")
UP_WITHIN_S = 60
SEEN_WITHIN_S = 60
TICKS_A_SECOND = os.sysconf("SC_CLK_TCK")


@dataclass
class Watched:
    """The lines that the viewers received, and the web process's load."""

    delays: list[float] = field(default_factory=list)  # seconds from writing a line to receiving it
    lines: int = 0  # number of written lines
    share: float = 0.0  # share of one core that the web process used


def run() -> bool:
    """Watch, print the results, and say whether the goals were met."""
    with tempfile.TemporaryDirectory(prefix="keystone-bench-") as name:
        seen = measure(Path(name), viewers=VIEWERS, seconds=SECONDS)
    say(f"\n{VIEWERS} viewers, {seen.lines} lines in {SECONDS:.0f} s")
    row = (ms(median(seen.delays)), ms(percentile(seen.delays, 99)), f"{seen.share * 100:.1f}")
    head = ("", "line to viewer, median ms", "99 %", "% of a core")
    show("A live log", head, [("web process", *row)])
    return seen.share < MOST_OF_A_CORE and percentile(seen.delays, 99) <= LATEST_S


def measure(folder: Path, *, viewers: int, seconds: float) -> Watched:
    """Let that many viewers watch a growing log for that many seconds."""
    (port,) = free_ports(1)
    environ = {
        "KEYSTONE_DATA_DIR": str(folder),
        "KEYSTONE_SECRET_KEY": "of no use to anybody",
        # The pages need only the database, no Redis.
        "KEYSTONE_REDIS_URL": f"unix://{folder / 'nobody.sock'}",
        "KEYSTONE_PORT": str(port),
    }
    runtime = open_runtime(read_settings(WebSettings, environ))
    make_app(runtime)
    deployment = make_deployment(runtime, state=DeploymentState.RUNNING).id or 0
    # As many users as needed, because each may open only a limited number of streams.
    names = [f"eyes-{number}" for number in range(math.ceil(viewers / MOST_OF_ONE))]
    tokens = [make_token(runtime, name=name, role=Role.VIEWER) for name in names]
    requests = [_request(deployment, tokens[number % len(tokens)]) for number in range(viewers)]
    try:
        with web_process(runtime, environ, port) as pid:
            log = log_path(runtime.settings.logs_dir, deployment)
            return asyncio.run(_watch(pid, requests, port, log, seconds))
    finally:
        runtime.database.close()


@contextmanager
def web_process(runtime: Runtime[WebSettings], environ: dict[str, str], port: int) -> Iterator[int]:
    """Run the web process for the length of the block, and give its process id."""
    command, env = web_command(runtime.settings), {**os.environ, **environ}
    process = subprocess.Popen(command, env=env)
    try:
        asyncio.run(_until_up(port))
        yield process.pid
    finally:
        process.terminate()
        process.wait(UP_WITHIN_S)


async def _until_up(port: int) -> None:
    end = time.monotonic() + UP_WITHIN_S
    while time.monotonic() < end:
        try:
            _, writer = await asyncio.open_connection("127.0.0.1", port)
        except OSError:
            await asyncio.sleep(0.1)
        else:
            writer.close()
            return
    raise TimeoutError("the web process did not come up")


def _request(deployment: int, token: str) -> bytes:
    return (
        f"GET /api/deployments/{deployment}/events?lines=html HTTP/1.1\r\nHost: localhost\r\n"
        f"Authorization: Bearer {token}\r\n\r\n"
    ).encode()


async def _watch(
    pid: int, requests: Sequence[bytes], port: int, path: Path, seconds: float
) -> Watched:
    seen, lines = Watched(), round(seconds * LINES_A_SECOND)
    watching = [asyncio.create_task(_view(port, request, lines, seen)) for request in requests]
    await asyncio.sleep(2)  # all viewers have connected: measure only the watching
    log = DeploymentLog(path, Redactor())
    spent, begun = _cpu_s(pid), time.monotonic()
    for _ in range(lines):
        text = f"written at {time.monotonic():.6f}: \x1b[32mfine\x1b[0m, as it was"
        log.write("build", output(4, text))
        seen.lines += 1
        await asyncio.sleep(1 / LINES_A_SECOND)
    await asyncio.wait(watching, timeout=SEEN_WITHIN_S)
    seen.share = (_cpu_s(pid) - spent) / (time.monotonic() - begun)
    for task in watching:
        task.cancel()
    await asyncio.gather(*watching, return_exceptions=True)
    log.close()
    return seen


async def _view(port: int, request: bytes, lines: int, seen: Watched) -> None:
    moments = set[bytes]()
    reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=2**20)
    try:
        writer.write(request)
        while len(moments) < lines and (line := await reader.readline()):
            if found := WRITTEN.search(line):
                seen.delays.append(time.monotonic() - float(found[1]))
                moments.add(found[1])
    finally:
        writer.close()


def _cpu_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS_A_SECOND
