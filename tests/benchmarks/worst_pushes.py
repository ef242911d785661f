"""The cost of the worst signed pushes: reading a body of 25 MiB, and matching its paths.

Only a sender who knows a repository's webhook secret can send such pushes, but all other pushes
wait meanwhile. Each is measured once, in processor time, because the machine may be busy.
"""

import json
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

from jobs.rules.app_settings import PushRules
from jobs.rules.triggers import (
    LONGEST_PATH,
    MOST_PATH_CHARACTERS,
    Judgement,
    Push,
    Rule,
    bounded_paths,
)
from receiver.errors import PayloadError
from receiver.limits import LARGEST_BODIES
from receiver.payloads import FORM, JSON, parse
from receiver.strict_json import MOST_VALUES
from tests.benchmarks.tables import ms, say, show

LARGEST = LARGEST_BODIES["/webhooks/github"]
PAYLOAD = Path(__file__).parents[1] / "payloads" / "push.json"
APPS, PATTERNS, LONGEST_PATTERN = 200, 100, 250
# GitHub waits for 10 s; the body may take 8 s of that to arrive.
READ_WITHIN_S = 1.0
JUDGED_WITHIN_S = 0.15


def run() -> bool:
    """Measure, print, and say whether all times are within their limits."""
    reading = {name: measure(partial(_read, kind, body)) for name, kind, body in bodies()}
    judging = {name: measure(partial(_judge, push, asked)) for name, push, asked in pushes()}
    for title, times in (("Reading 25 MiB", reading), ("Judging a push", judging)):
        rows = [[name, ms(taken)] for name, taken in times.items()]
        show(f"{title} (ms of the processor)", ["", "taken"], rows)
    say(
        f"\n  slowest: {ms(max(reading.values()))} ms to read (goal: {ms(READ_WITHIN_S)}), "
        f"{ms(max(judging.values()))} ms to judge (goal: {ms(JUDGED_WITHIN_S)})"
    )
    return max(reading.values()) <= READ_WITHIN_S and max(judging.values()) <= JUDGED_WITHIN_S


def measure(work: Callable[[], None]) -> float:
    """Give the processor time of some work in seconds."""
    began = time.process_time()
    work()
    return time.process_time() - began


def bodies() -> Sequence[tuple[str, str, bytes]]:
    """Give the bodies that are slowest to read, each with its content type."""
    push = json.loads(PAYLOAD.read_text())
    most = MOST_VALUES - 1000

    def with_commits(commits: object) -> bytes:
        return json.dumps({**push, "commits": commits}).encode()

    of_paths = [{"added": [f"src/{one}/{n}.py" for n in range(200)]} for one in range(2047)]
    return [
        ("as many values as there may be", JSON, _filled(b'{"a":1}', most // 2)),
        ("one value more", JSON, _filled(b"1", MOST_VALUES)),
        ("names of one object", JSON, b"{%b}" % b",".join(b'"%d":1' % n for n in range(most))),
        ("digits", JSON, b'{"a":' + b"1" * (LARGEST - 10) + b"}"),
        ("brackets", JSON, b"[" * LARGEST),
        ("one text", JSON, b'["' + b"\\u00fc" * (LARGEST // 6 - 1) + b'"]'),
        ("commits without anything", JSON, with_commits([{}] * (most // 2 - 100))),
        ("mistakes in commits", JSON, with_commits([{"added": [1] * 90}] * 6000)),
        ("2,047 commits to 200 files", JSON, with_commits(of_paths)),
        ("escapes of a form", FORM, b"payload=" + b"%20" * ((LARGEST - 8) // 3)),
    ]


def _filled(value: bytes, count: int) -> bytes:
    """Give a list of that many values, padded with spaces to the largest body."""
    padding = b" " * max((LARGEST - 2) // count - len(value) - 1, 0)
    return b"[" + b",".join([value + padding] * count) + b"]"


def _read(kind: str, body: bytes) -> None:
    try:
        parse("push", kind, body)
    except PayloadError:
        return


def pushes() -> Sequence[tuple[str, Push, Sequence[Rule]]]:
    """Give the pushes that are slowest to judge, each with the rules of 200 apps."""
    stars = "*a" * (LONGEST_PATTERN // 2 - 3)
    worst = rules(lambda app, n: f"{stars}{app:03}{n:02}")
    letters = "".join(map(chr, range(0x100, 0x100 + LONGEST_PATTERN)))
    distinct = rules(lambda app, n: "**" + "*".join(letters[:120]) + f"*{app:03}{n:02}")
    usual = rules(lambda app, n: f"services/app-{app}/part-{n}/**")
    long = (("ab" * LONGEST_PATH)[: LONGEST_PATH - 6] + f"{n:06}" for n in range(10**6))
    short = (f"services/app-{n % 300}/src/file_{n}.ts" for n in range(10**6))
    varied = (letters * 16 + f"{n:06}" for n in range(10**6))
    return [
        ("24 paths of 1 MB", touching(["a" * 10**6 + str(n) for n in range(24)]), worst),
        ("long paths, patterns of stars", touching(_as_many_as_fit(long)), worst),
        ("long paths, patterns of many letters", touching(_as_many_as_fit(varied)), distinct),
        ("short paths, usual patterns", touching(_as_many_as_fit(short)), usual),
        ("one path, patterns of stars", touching(["ab" * 40]), worst),
    ]


def rules(pattern: Callable[[int, int], str]) -> list[Rule]:
    """Give the rules of the most apps that a repository may have, each with the most patterns."""
    return [
        Rule(
            f"app-{app}",
            "main",
            auto_deploy=True,
            wanted=PushRules(watch_paths=tuple(pattern(app, n) for n in range(PATTERNS))),
        )
        for app in range(APPS)
    ]


def _as_many_as_fit(paths: Iterable[str]) -> list[str]:
    found, size = [], 0
    for path in paths:
        size += len(path)
        if size > MOST_PATH_CHARACTERS:
            break
        found.append(path)
    return found


def touching(paths: Sequence[str]) -> Push:
    """Give the push of the recorded payload, with other changed paths."""
    push = parse("push", JSON, PAYLOAD.read_bytes())
    assert isinstance(push, Push)
    return replace(push, paths=bounded_paths(paths))


def _judge(push: Push, rules: Sequence[Rule]) -> None:
    Judgement(push, rules).on(rules)
