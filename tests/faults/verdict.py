"""Judges a round by its evidence. Pure functions: `house` gathers the evidence."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

from tests.faults.pushes import Sent
from tests.faults.records import Live, Row

RECOVERY = "recovery"
OPEN = {"queued", "running"}
NEVER = re.compile(r"(?!)")
MOST_ATTEMPTS = 2


@dataclass(frozen=True)
class Evidence:
    """The state of the house when all was quiet, or when the time to become quiet was over.

    Attributes:
        sent: every delivery of the round.
        rows: every deployment of the round.
        before: the commit and container that served each app before the round.
        live: the commit and container that serve each app now.
        left: things without an owner: containers, leases, files, processes.
        failed: requests of visitors without a proper answer.
        excuse: reasons with which a deployment may end without success.
    """

    sent: Sequence[Sent]
    rows: Sequence[Row]
    before: Mapping[str, Live]
    live: Mapping[str, Live]
    left: Sequence[str] = ()
    failed: Sequence[str] = ()
    excuse: re.Pattern[str] = NEVER


@dataclass
class Verdict:
    """The problems of a round as sentences; a good round has none.

    Attributes:
        missed: set if the fault hit nothing; `judge` cannot know that.
    """

    lost: list[str] = field(default_factory=list)
    doubled: list[str] = field(default_factory=list)
    stuck: list[str] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)
    missed: list[str] = field(default_factory=list)

    @property
    def has_only_missed(self) -> bool:
        """Whether the only problem is that the fault hit nothing."""
        return bool(self.missed) and self == Verdict(missed=self.missed)

    @property
    def problems(self) -> list[str]:
        """Give all problems, each with its kind."""
        found = vars(self).items()
        return [f"{kind}: {problem}" for kind, problems in found for problem in problems]


def judge(evidence: Evidence) -> Verdict:
    """Find the lost, doubled and stuck pushes of a round, and its failed requests."""
    return Verdict(
        lost=[*_without_end(evidence), *_not_on_newest(evidence)],
        doubled=[*_repeated(evidence), *_overlapping(evidence)],
        stuck=[*_unfinished(evidence), *evidence.left],
        failed=list(evidence.failed),
    )


def _without_end(evidence: Evidence) -> Iterator[str]:
    """Find accepted deliveries without a deployment, or whose deployment ended without a reason."""
    rows = {row.id: row for row in evidence.rows}
    for sent in evidence.sent:
        if sent.is_accepted and not sent.deployments:
            yield f"the push {sent.commit_sha[:7]} of {sent.app} was accepted and queued nothing"
        for number in sent.deployments:
            row = rows.get(number)
            if row is None:
                yield f"deployment {number} of {sent.app} is not there any more"
            elif row.state not in OPEN | {"success"} and not row.reason:
                yield f"deployment {number} ended {row.state} without a reason"


def _not_on_newest(evidence: Evidence) -> Iterator[str]:
    for app in {row.app for row in evidence.rows}:
        pushed = [row for row in evidence.rows if row.app == app and row.trigger != RECOVERY]
        rows = {row.commit_sha: row for row in pushed}
        known = [sent for sent in evidence.sent if sent.app == app and sent.commit_sha in rows]
        newest = max(known, key=lambda sent: sent.pushed_at, default=None)
        if newest is None:
            continue
        row, live = rows[newest.commit_sha], evidence.live.get(app)
        if row.state == "success" and (live is None or live.commit_sha != newest.commit_sha):
            yield f"{app} serves {live and live.commit_sha[:7]}, not {newest.commit_sha[:7]}"
        elif row.state in {"failure", "error", "cancelled", "superseded"}:
            if not evidence.excuse.search(row.reason):
                yield f"the newest push of {app} ended {row.state}: {row.reason}"
            elif live != evidence.before.get(app) and not _is_of_round(evidence, app, live):
                yield f"{app} serves something that it neither served before nor was sent"


def _is_of_round(evidence: Evidence, app: str, live: Live | None) -> bool:
    deployed = {row.commit_sha for row in evidence.rows if (row.app, row.state) == (app, "success")}
    return live is not None and live.commit_sha in deployed


def _repeated(evidence: Evidence) -> Iterator[str]:
    counted: dict[tuple[str, str], list[int]] = {}
    for row in evidence.rows:
        # A recovery deploys an earlier push again, on purpose.
        if row.trigger != RECOVERY:
            counted.setdefault((row.app, row.commit_sha), []).append(row.id)
        if row.attempts > MOST_ATTEMPTS:
            yield f"deployment {row.id} was begun {row.attempts} times"
    for (app, sha), ids in counted.items():
        if sha and len(ids) > 1:
            yield f"the push {sha[:7]} of {app} has {len(ids)} deployments"


def _overlapping(evidence: Evidence) -> Iterator[str]:
    """Find deployments of one app that ran at the same time."""
    for app in {row.app for row in evidence.rows}:
        spans = sorted(
            (min(begun for begun, _ in row.spans), max(ended for _, ended in row.spans), row.id)
            for row in evidence.rows
            if row.app == app and row.spans and all(ended for _, ended in row.spans)
        )
        for (_, ended, one), (begun, _, other) in pairwise(spans):
            if begun < ended:
                yield f"deployments {one} and {other} of {app} overlap"


def _unfinished(evidence: Evidence) -> Iterator[str]:
    for row in evidence.rows:
        if row.state in OPEN:
            yield f"deployment {row.id} of {row.app} is still {row.state}"
        elif not all(ended for _, ended in row.spans):
            yield f"a step of deployment {row.id} has no end"
