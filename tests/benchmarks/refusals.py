"""Checks that the time of a refusal does not reveal its reason, for every kind of bad delivery."""

import http.client
import secrets
import time
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import replace
from urllib.parse import urlsplit

from tests.acceptance.payloads import Delivery, encoded
from tests.acceptance.project import Project
from tests.benchmarks.stand import Stand, standing
from tests.benchmarks.tables import median, ms, percentile, say, show

TURNS = 1000
# The allowed difference of the medians: two measurements of one kind differ by as much.
APART = 0.05
UNAUTHORIZED = 401
WITHIN_S = 60.0


UNSIGNED = "unsigned"


class Unsigned(Delivery):
    """A delivery without a signature."""

    @property
    def headers(self) -> dict[str, str]:
        """Give GitHub's headers without the signature."""
        return {name: value for name, value in super().headers.items() if "Signature" not in name}


def kinds(project: Project) -> Mapping[str, Delivery]:
    """Give one delivery of each refused kind; their bodies have the same length.

    The first one has no signature and is refused before its body is read, which reveals nothing.
    The others have a signature, and their refusals must take the same time.
    """
    known = project.payload("a" * 40)
    stranger = replace(known, repository_id=known.repository_id + 1)
    body, wrong = encoded(known.to_json()), secrets.token_hex(32)
    return {
        UNSIGNED: Unsigned(body, ""),
        "signed with another secret": Delivery(body, wrong),
        "signed with an empty secret": Delivery(body, ""),
        "of an unknown repository": Delivery(encoded(stranger.to_json()), wrong),
    }


def run() -> bool:
    """Measure, print, and say whether the times are equal."""
    with standing() as stand:
        project = stand.project("refused", git_url=f"file://{stand.folder}/none", token=None)
        times = measure(stand, kinds(project), turns=TURNS)
    show(
        "Refused deliveries (ms)",
        ["", "median", "p99"],
        [[name, ms(median(found)), ms(percentile(found, 99))] for name, found in times.items()],
    )
    medians = {name: median(found) for name, found in times.items()}
    unsigned = medians.pop(UNSIGNED)
    slowest, quickest = max(medians.values()), min(medians.values())
    say(f"\n  slowest / quickest: {slowest / quickest:.3f} (goal: at most {1 + APART:.2f})")
    say(f"  {UNSIGNED}: {ms(unsigned)} ms (goal: less than the others)")
    return slowest / quickest <= 1 + APART and unsigned < quickest


def measure(
    stand: Stand, deliveries: Mapping[str, Delivery], *, turns: int
) -> Mapping[str, Sequence[float]]:
    """Send each kind once in every turn, in a new order each time; give the times in seconds."""
    times: dict[str, list[float]] = {name: [] for name in deliveries}
    names, answers = list(deliveries), set()
    address = urlsplit(stand.keystone.url).netloc
    with closing(http.client.HTTPConnection(address, timeout=WITHIN_S)) as connection:
        for turn in range(turns):
            first = turn % len(names)
            for name in [*names[first:], *names[:first]]:
                begun = time.perf_counter()
                answers.add(_send(connection, deliveries[name]))
                times[name].append(time.perf_counter() - begun)
    assert {status for status, _ in answers} == {UNAUTHORIZED}
    assert len(answers) == 1, "their answers differ"
    return times


def _send(connection: http.client.HTTPConnection, delivery: Delivery) -> tuple[int, bytes]:
    connection.request("POST", "/webhooks/github", delivery.body, delivery.headers)
    answer = connection.getresponse()
    return answer.status, answer.read()
