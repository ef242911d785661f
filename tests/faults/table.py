"""The results of many rounds, as the table in the README."""

from collections.abc import Iterable
from dataclasses import dataclass, field

from tests.faults.verdict import Verdict

HEADS = ("fault", "rounds", "lost", "doubled", "stuck", "failed requests", "missed")


@dataclass
class Tally:
    """The results of one fault's rounds."""

    rounds: int = 0
    lost: int = 0
    doubled: int = 0
    stuck: int = 0
    failed: int = 0
    missed: int = 0

    def add(self, verdict: Verdict) -> None:
        """Add the result of one round."""
        self.rounds += 1
        self.lost += len(verdict.lost)
        self.doubled += len(verdict.doubled)
        self.stuck += len(verdict.stuck)
        self.failed += len(verdict.failed)
        self.missed += len(verdict.missed)


@dataclass
class Table:
    """The tallies by fault."""

    tallies: dict[str, Tally] = field(default_factory=dict)

    def add(self, fault: str, verdict: Verdict) -> None:
        """Add the result of one round; faults that differ only after a colon share a line."""
        self.tallies.setdefault(fault.partition(":")[0], Tally()).add(verdict)

    def __str__(self) -> str:
        """Give the table in Markdown, with the totals in the last line."""
        rows = [(fault, *vars(tally).values()) for fault, tally in sorted(self.tallies.items())]
        sums = [sum(column) for column in zip(*(row[1:] for row in rows), strict=True)]
        return "\n".join(_lines([*rows, ("all", *sums)]))


def _lines(rows: Iterable[tuple[object, ...]]) -> list[str]:
    head = [f"| {' | '.join(HEADS)} |", f"|---|{'---:|' * (len(HEADS) - 1)}"]
    return head + [f"| {' | '.join(map(str, row))} |" for row in rows]
