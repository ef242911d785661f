"""A hundred thousand hostile requests: the web process's answers and its memory use.

REQUESTS=n sets another number, SEED=n makes other requests. A complete `keystone up` runs with a
live app. Every request has its own connection, and several run at the same time.
"""

import asyncio
import os
import re
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

from tests.benchmarks.attacks import Attack, Known, attacks
from tests.benchmarks.stand import Stand, standing
from tests.benchmarks.tables import say, show

REQUESTS, SEED, AT_ONCE = 100_000, 5, 16
# The first requests fill caches and pools, which does not count as growth.
WARM_UP = 5000
MOST_GROWTH = 0.20
ANSWER_WITHIN_S = 20.0
SETTLED_S = 2.0
MOST_SHOWN = 8000  # characters
STATUS = re.compile(rb"HTTP/1\.1 (\d{3}) ")
NOTHING = 0  # the connection was closed without an answer
LATE = -1  # no answer came in time


@dataclass
class Seen:
    """The answers, and the effect on the web process."""

    answers: Counter[tuple[str, int]] = field(default_factory=Counter)  # by kind and status
    tracebacks: int = 0  # in the log of all processes
    first_traceback: str = ""
    seconds: float = 0.0
    rss_before: int = 0  # bytes
    rss_after: int = 0

    @property
    def broken(self) -> int:
        """The number of requests answered with status 500 or above, or not at all."""
        return sum(
            count for (_, status), count in self.answers.items() if status == LATE or status >= 500
        )

    @property
    def growth(self) -> float:
        """The growth of the process's memory, as a share of its memory before."""
        return self.rss_after / self.rss_before - 1


def run() -> bool:
    """Attack, print the answers, and say whether the goals were met."""
    requests = int(os.environ.get("REQUESTS", REQUESTS))
    with standing() as stand:
        seen = measure(stand, requests=requests, warm_up=min(WARM_UP, requests // 4))
    _show(seen)
    return not seen.broken and not seen.tracebacks and seen.growth <= MOST_GROWTH


def measure(stand: Stand, *, requests: int, warm_up: int) -> Seen:
    """Attack a Keystone, with a warm-up first whose answers count too."""
    project = stand.project("web")
    deployed = project.deploy("version 1")
    assert deployed["state"] == "success", deployed["reason"]
    payload = project.payload(deployed["commit_sha"], ref="refs/heads/another")
    push = project.delivery(payload)
    hostile = attacks(
        int(os.environ.get("SEED", SEED)), Known(stand.keystone.token, push.body, push.headers)
    )
    (pid,) = stand.keystone.parts("web")
    port = int(stand.keystone.url.rpartition(":")[2])
    seen = asyncio.run(_attack(pid, port, hostile, requests=requests, warm_up=warm_up))
    _, found, rest = stand.keystone.log().partition("Traceback")
    seen.first_traceback = (found + rest)[:MOST_SHOWN]
    seen.tracebacks = (found + rest).count("Traceback")
    return seen


async def _attack(
    pid: int, port: int, hostile: Iterator[Attack], *, requests: int, warm_up: int
) -> Seen:
    seen = Seen()
    await _send_all(port, islice(hostile, warm_up), seen)
    await asyncio.sleep(SETTLED_S)
    seen.rss_before = _rss(pid)
    await _send_all(port, islice(hostile, requests), seen)
    await asyncio.sleep(SETTLED_S)
    seen.rss_after = _rss(pid)
    return seen


async def _send_all(port: int, hostile: Iterator[Attack], seen: Seen) -> None:
    """Send the attacks, that many at once; slow attacks do not delay others."""
    slow: list[asyncio.Task[None]] = []
    began = time.monotonic()

    async def take_turns() -> None:
        for attack in hostile:
            if attack.is_slow:
                slow.append(asyncio.create_task(_send(port, attack, seen)))
            else:
                await _send(port, attack, seen)

    await asyncio.gather(*(take_turns() for _ in range(AT_ONCE)))
    await asyncio.gather(*slow)
    seen.seconds += time.monotonic() - began


async def _send(port: int, attack: Attack, seen: Seen) -> None:
    status = NOTHING
    try:
        async with asyncio.timeout(ANSWER_WITHIN_S):
            status = await _exchange(port, attack)
    except TimeoutError:
        status = LATE
    except OSError:
        pass  # the server closed the connection while we were sending, which counts as an answer
    seen.answers[attack.kind, status] += 1


async def _exchange(port: int, attack: Attack) -> int:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        await _write(writer, attack)
        if attack.is_cut:
            return NOTHING
        found = STATUS.match(await reader.readline())
        await _read_to_the_end(reader)
        return int(found[1]) if found else NOTHING
    finally:
        writer.close()


async def _write(writer: asyncio.StreamWriter, attack: Attack) -> None:
    head, end, body = attack.raw.partition(b"\r\n\r\n")
    if not attack.is_slow:
        writer.write(attack.raw)
        await writer.drain()
        return
    writer.write(head + end)
    for byte in body:
        if writer.is_closing():
            return
        writer.write(bytes([byte]))
        await asyncio.sleep(0.5)


async def _read_to_the_end(reader: asyncio.StreamReader) -> None:
    """Read an answer until the server closes it; of a stream read only enough to recognise it."""
    while line := await reader.readline():
        if line.startswith(b"content-type: text/event-stream"):
            return
        if line == b"\r\n":
            break
    while await reader.read(65536):
        pass


def _rss(pid: int) -> int:
    found = re.search(r"VmRSS:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    assert found is not None, "the web process is gone"
    return int(found[1]) * 1024


def _show(seen: Seen) -> None:
    statuses = sorted({status for _, status in seen.answers})
    words = {NOTHING: "hung up", LATE: "late"}
    kinds = sorted({kind for kind, _ in seen.answers})
    show(
        "Hostile requests, and what they were answered",
        ["", *(words.get(status, str(status)) for status in statuses)],
        [[kind, *(str(seen.answers[kind, status]) for status in statuses)] for kind in kinds],
    )
    total = sum(seen.answers.values())
    say(f"\n  {total} requests in {seen.seconds:.0f} s, {total / seen.seconds:.0f} a second")
    say(f"  answered 500 or more, or not at all: {seen.broken} (goal: 0)")
    say(f"  tracebacks in the log: {seen.tracebacks} (goal: 0)")
    if seen.first_traceback:
        say(seen.first_traceback)
    mib = 1024 * 1024
    say(
        f"  memory of the web process: {seen.rss_before / mib:.0f} MiB before, "
        f"{seen.rss_after / mib:.0f} MiB after, {seen.growth:+.1%} (goal: at most 20 % more)"
    )
