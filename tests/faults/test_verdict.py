"""The judge reports each kind of problem as its kind, and reports nothing for a good round."""

import re
from dataclasses import replace

import pytest

from tests.acceptance.payloads import Delivery
from tests.faults.pushes import Sent
from tests.faults.records import Live, Row
from tests.faults.table import Table
from tests.faults.verdict import Evidence, Verdict, judge

OLD, NEW, NEWER = ("1" * 40, "2" * 40, "3" * 40)
SPANS = (("12:00:01", "12:00:02"), ("12:00:02", "12:00:03"))
LATER = (("12:00:04", "12:00:05"),)


def sent(sha: str, pushed_at: int, *deployments: int) -> Sent:
    return Sent("web", sha, pushed_at, Delivery(b"", ""), 202 if deployments else 503, deployments)


def row(number: int, sha: str, state: str = "success", reason: str = "") -> Row:
    return Row(number, "web", state, reason, sha, attempts=1, spans=SPANS)


GOOD = Evidence(
    sent=[sent(NEW, 1, 7)],
    rows=[row(7, NEW)],
    before={"web": Live(OLD, "a")},
    live={"web": Live(NEW, "b")},
)


def test_a_good_round_has_no_problems() -> None:
    assert judge(GOOD).problems == []


def test_a_recovery_does_not_count_as_doubled() -> None:
    rows = [
        replace(row(7, NEW, "failure", "did not stay up"), spans=()),
        replace(row(8, OLD), trigger="recovery"),
        replace(row(9, OLD), trigger="recovery", spans=LATER),
    ]
    went_back = replace(GOOD, rows=rows, live=GOOD.before, excuse=re.compile("stay up"))
    assert judge(went_back).problems == []


def test_a_refused_push_does_not_count_as_lost() -> None:
    refused = replace(GOOD, sent=[*GOOD.sent, sent(NEWER, 2)])
    assert judge(refused).problems == []


@pytest.mark.parametrize(
    ("wrong", "kind"),
    [
        ({"rows": []}, "lost"),
        ({"live": GOOD.before}, "lost"),
        ({"rows": [row(7, NEW, "error", "the worker was killed")]}, "lost"),
        ({"rows": [row(7, NEW, "cancelled")]}, "lost"),
        (
            {
                "sent": [sent(NEWER, 2, 8), sent(NEW, 1, 7)],
                "rows": [row(7, NEW), replace(row(8, NEWER), spans=LATER)],
            },
            "lost",
        ),
        ({"rows": [row(7, NEW), replace(row(8, NEW), spans=LATER)]}, "doubled"),
        ({"rows": [row(7, NEW), row(8, NEWER)]}, "doubled"),
        ({"rows": [replace(row(7, NEW), attempts=3)]}, "doubled"),
        ({"rows": [row(7, NEW, "running")]}, "stuck"),
        ({"rows": [replace(row(7, NEW), spans=(("12:00:01", ""),))]}, "stuck"),
        ({"left": ["a container"]}, "stuck"),
        ({"failed": ["502"]}, "failed"),
    ],
)
def test_each_problem_is_reported_as_its_kind(wrong: dict[str, object], kind: str) -> None:
    verdict = judge(replace(GOOD, **wrong))  # type: ignore[arg-type]
    assert [name for name, found in vars(verdict).items() if found] == [kind]


def test_a_reason_that_the_fault_excuses_is_no_problem() -> None:
    killed = row(7, NEW, "error", "the worker was killed in start")
    evidence = replace(GOOD, rows=[killed], live=GOOD.before, excuse=re.compile("killed in start"))
    assert judge(evidence).problems == []
    assert judge(replace(evidence, live={"web": Live(NEWER, "c")})).lost


def test_the_table_counts_by_fault_and_in_total() -> None:
    table = Table()
    table.add("web killed", Verdict())
    table.add("web killed", Verdict(lost=["one", "two"]))
    table.add("GitHub fails: 401", Verdict())
    table.add("GitHub fails: hangs", Verdict(stuck=["three"], missed=["four"]))
    assert str(table).splitlines()[2:] == [
        "| GitHub fails | 2 | 0 | 0 | 1 | 0 | 1 |",
        "| web killed | 2 | 2 | 0 | 0 | 0 | 0 |",
        "| all | 4 | 2 | 0 | 1 | 0 | 1 |",
    ]
