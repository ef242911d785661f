"""Judging a push before the transaction that queues its deployments, and what that costs."""

import time
from collections.abc import Iterable, Iterator
from contextlib import closing
from dataclasses import replace

import pytest

from jobs.errors import RulesChangedError
from jobs.records.deliveries import Envelope, Receipt, accept_push
from jobs.records.pushes import judge, rule_of
from jobs.rules.app_settings import PushRules
from jobs.rules.globs import BASE_COST
from jobs.rules.triggers import (
    COST_TO_PARSE,
    LONGEST_PATH,
    MOST_COST,
    MOST_PATH_CHARACTERS,
    TRIES,
    Deploy,
    Ignored,
    Judgement,
    Push,
    Rule,
    bounded_paths,
)
from jobs.states import DeliveryOutcome
from jobs.storage.database import Database
from jobs.storage.models import App
from tests.builders import change_settings
from tests.jobs.bench import Bench, push_of
from tests.jobs.pushes import PUSH, RULE

# One-sided, and many times what it takes: this holds on a machine that is busy, too.
LONGEST_S = 5.0
GUID = Envelope("guid", "push", "f" * 64, 1)


def rules(count: int, *patterns: str) -> list[Rule]:
    """Give rules of which each may have more patterns than an app: the budget is for all apps."""
    wanted = PushRules.model_construct(watch_paths=patterns)
    return [replace(RULE, app=f"app-{n}", wanted=wanted) for n in range(count)]


class TestBudget:
    def test_apps_that_watch_the_same_paths_cost_as_much_as_one(self) -> None:
        push = replace(PUSH, paths=frozenset({"docs/" + "x" * 4000}))
        patterns = [
            "?" * 240 + f"{n:03}"
            for n in range(MOST_COST // (4006 + BASE_COST + COST_TO_PARSE) // 243 - 1)
        ]
        judgement = Judgement(push, many := rules(200, *patterns))
        verdicts = judgement.on(many)
        assert {type(verdict) for verdict in verdicts} == {Ignored}

    def test_what_is_beyond_the_budget_of_all_apps_together_is_taken_to_be_touched(self) -> None:
        push = replace(PUSH, paths=frozenset({"docs/" + "x" * 4000}))
        different = [rules(1, *(f"{app:03}{n:03}/**/*a" for n in range(100))) for app in range(200)]
        judged = [rule for (rule,) in different]
        verdicts = Judgement(push, judged).on(judged)
        watched = [isinstance(verdict, Ignored) for verdict in verdicts]
        assert watched == sorted(watched, reverse=True)
        assert 10 < sum(watched) < 190

    def test_the_worst_that_can_be_asked_takes_no_time(self) -> None:
        """200 apps with 100 patterns of 250 characters each, and as many paths as are matched."""
        paths = frozenset("ab" * 2000 + f"{n:05}" for n in range(MOST_PATH_CHARACTERS // 4005))
        assert bounded_paths(paths) is not None
        worst = [
            rules(1, *("*a" * 122 + f"{n:05}" for n in range(a, a + 100)))[0] for a in range(200)
        ]
        begun = time.process_time()
        verdicts = Judgement(replace(PUSH, paths=paths), worst).on(worst)
        assert time.process_time() - begun < LONGEST_S
        assert verdicts[-1] == Deploy()

    def test_the_attack_that_stalled_the_database_for_twenty_seconds_takes_no_time(self) -> None:
        paths = bounded_paths("a" * 1_000_000 + str(n) for n in range(24))
        rule = replace(RULE, wanted=PushRules(watch_paths=("**/*.py",)))
        begun = time.process_time()
        assert Judgement(replace(PUSH, paths=paths), [rule]).on([rule]) == [Deploy()]
        assert time.process_time() - begun < LONGEST_S

    def test_paths_that_are_listed_again_and_again_count_once(self) -> None:
        again = ("x" * LONGEST_PATH for _ in range(MOST_PATH_CHARACTERS))
        assert bounded_paths(again) == frozenset({"x" * LONGEST_PATH})


class TestRulesThatChange:
    def test_a_rule_that_was_not_judged_is_told(self) -> None:
        judgement = Judgement(PUSH, [RULE])
        other = replace(RULE, branch="next")
        with pytest.raises(RulesChangedError) as caught:
            judgement.on([RULE, other])
        assert caught.value.rules == [other]

    def test_it_is_judged_and_the_attempt_is_made_again(self) -> None:
        judgement = Judgement(PUSH)
        attempts: list[int] = []

        def attempt() -> object:
            attempts.append(1)
            return judgement.on([RULE])

        assert judgement.settle(attempt) == [Deploy()]
        assert len(attempts) == 2

    def test_rules_that_change_each_time_are_judged_at_last(self) -> None:
        judgement = Judgement(PUSH)
        attempts: list[int] = []

        def attempt() -> object:
            attempts.append(1)
            return judgement.on([replace(RULE, app=f"web-{len(attempts)}")])

        assert judgement.settle(attempt) == [Deploy()]
        assert len(attempts) == TRIES + 1


class OthersMayWrite(Judgement):
    """Judges while somebody else writes, who has no patience to wait."""

    def __init__(self, push: Push, other: Database) -> None:
        self.judged: list[Rule] = []
        self._other = other
        super().__init__(push)

    def _judge(self, rules: Iterable[Rule]) -> None:
        with self._other.writing():
            self.judged.extend(rules)
        super()._judge(self.judged)


class TestOutsideOfTheTransaction:
    @pytest.fixture
    def other(self, bench: Bench) -> Iterator[Database]:
        with closing(Database(bench.runtime.database.url, busy_timeout_ms=100)) as other:
            yield other

    @pytest.fixture
    def app(self, bench: Bench) -> App:
        return bench.app("web", watch_paths=["docs/"])

    def accept(self, bench: Bench, judgement: Judgement) -> Receipt:
        def attempt() -> Receipt:
            with bench.writing() as session:
                return accept_push(session, GUID, judgement)

        return judgement.settle(attempt)

    def test_nobody_waits_for_a_push_that_is_judged(
        self, bench: Bench, app: App, other: Database
    ) -> None:
        push = push_of(bench, bench.commit(), paths=frozenset({"src/main.py"}))
        judgement = OthersMayWrite(push, other)
        receipt = self.accept(bench, judgement)
        assert receipt.outcome is DeliveryOutcome.IGNORED
        assert receipt.reason == "it touched nothing that web watches (docs/)"
        assert judgement.judged == [rule_of(app)]

    def test_a_rule_that_changed_in_between_counts(
        self, bench: Bench, app: App, other: Database
    ) -> None:
        push = push_of(bench, bench.commit(), paths=frozenset({"src/main.py"}))
        judgement = OthersMayWrite(push, other)
        judgement._judge([rule_of(app)])
        with bench.writing() as session:
            change_settings(session.get_one(App, app.id), watch_paths=("src/",))
        receipt = self.accept(bench, judgement)
        assert receipt.outcome is DeliveryOutcome.QUEUED
        assert [rule.wanted.watch_paths for rule in judgement.judged] == [("docs/",), ("src/",)]

    def test_the_rules_of_the_repository_that_is_named_are_read_before(
        self, bench: Bench, app: App
    ) -> None:
        push = push_of(bench, bench.commit(), paths=frozenset({"docs/index.html"}))
        with bench.runtime.database.reading() as session:
            judgement = judge(session, push)
        assert judgement.on([rule_of(app)]) == [Deploy()]
