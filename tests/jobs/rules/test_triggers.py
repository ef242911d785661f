"""Which pushes deploy, and which of two came first."""

from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobs.rules.app_settings import PushRules
from jobs.rules.refs import is_sha
from jobs.rules.triggers import Deploy, Ignored, Order, Push, Rule, compare, decide, short_ref
from tests.jobs.pushes import PUSH, RULE


class TestDeciding:
    def test_a_push_of_the_apps_branch_deploys(self) -> None:
        assert decide(PUSH, RULE) == Deploy()

    @pytest.mark.parametrize(
        ("push", "rule", "reason"),
        [
            (replace(PUSH, ref="refs/heads/next"), RULE, "web deploys main, not next"),
            (replace(PUSH, ref="refs/heads/main/2"), RULE, "web deploys main, not main/2"),
            (replace(PUSH, ref="refs/tags/main"), RULE, "web does not deploy tags"),
            (replace(PUSH, deleted=True, commit_sha=""), RULE, "main was deleted"),
            (replace(PUSH, commit_sha=""), RULE, "main was deleted"),
            (PUSH, replace(RULE, auto_deploy=False), "auto-deploy of web is paused"),
            (
                replace(PUSH, message="Fix a typo [Skip CI]"),
                RULE,
                "the commit message says [skip ci]",
            ),
            (
                replace(PUSH, message="wip: nothing yet"),
                replace(RULE, wanted=PushRules(skip_phrases=("WIP:",))),
                "the commit message says WIP:",
            ),
        ],
    )
    def test_what_does_not_deploy_says_why(self, push: Push, rule: Rule, reason: str) -> None:
        assert decide(push, rule) == Ignored(reason)

    @given(
        sha=st.text("0123456789abcdef", min_size=40, max_size=40),
        author=st.text(),
        sender=st.text(),
        name=st.text(),
        pushed_at=st.none() | st.integers(),
    )
    def test_who_pushed_which_commit_and_when_decides_nothing(
        self, sha: str, author: str, sender: str, name: str, pushed_at: int | None
    ) -> None:
        push = replace(
            PUSH,
            commit_sha=sha,
            author=author,
            sender=sender,
            full_name=name,
            pushed_at=pushed_at,
        )
        assert decide(push, RULE) == Deploy()
        assert isinstance(decide(push, replace(RULE, branch="other")), Ignored)


moments = st.none() | st.integers(1, 3)
OPPOSITE = {
    Order.OLDER: Order.NEWER,
    Order.NEWER: Order.OLDER,
    Order.UNKNOWN: Order.UNKNOWN,
}


class TestComparing:
    @given(one=moments, other=moments)
    def test_either_way_round_it_says_the_same(self, one: int | None, other: int | None) -> None:
        assert compare(one, other) is OPPOSITE[compare(other, one)]

    @pytest.mark.parametrize(("one", "other"), [(1, 1), (None, 1), (1, None), (None, None)])
    def test_what_cannot_be_told_is_not_guessed(self, one: int | None, other: int | None) -> None:
        assert compare(one, other) is Order.UNKNOWN

    @given(times=st.lists(st.integers(0, 10**9), min_size=2, max_size=9, unique=True))
    def test_different_seconds_are_always_told_apart(self, times: list[int]) -> None:
        pairs = pairwise(sorted(times))
        assert {compare(one, other) for one, other in pairs} == {Order.OLDER}


@pytest.mark.parametrize(
    ("ref", "short"),
    [
        ("refs/heads/main", "main"),
        ("refs/heads/a/b", "a/b"),
        ("refs/tags/v1", "tag v1"),
        ("main", "main"),
    ],
)
def test_refs_are_written_the_way_people_do(ref: str, short: str) -> None:
    assert short_ref(ref) == short


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a" * 40, True),
        ("0" * 64, True),
        ("A" * 40, False),
        ("a" * 39, False),
        ("a" * 41, False),
        ("a" * 40 + "\n", False),
        ("", False),
    ],
)
def test_a_sha_is_whole_and_lower_case(text: str, expected: bool) -> None:  # noqa: FBT001
    assert is_sha(text) is expected
