"""The table of transitions, and what GitHub is told."""

from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobs.errors import InvalidTransitionError
from jobs.states import (
    TRANSITIONS,
    DeploymentState,
    GitHubState,
    Role,
    StepState,
    bare_description,
    ensure_transition,
    github_description,
    github_state,
)

S = DeploymentState
ARROWS = {
    (S.QUEUED, S.RUNNING),
    (S.QUEUED, S.SUPERSEDED),
    (S.QUEUED, S.CANCELLED),
    (S.QUEUED, S.ERROR),
    (S.RUNNING, S.SUCCESS),
    (S.RUNNING, S.FAILURE),
    (S.RUNNING, S.ERROR),
    (S.RUNNING, S.CANCELLED),
    (S.RUNNING, S.SUPERSEDED),
    (S.RUNNING, S.QUEUED),
    (S.SUCCESS, S.FAILURE),
}
ON_GITHUB = {
    S.QUEUED: GitHubState.PENDING,
    S.RUNNING: GitHubState.PENDING,
    S.SUCCESS: GitHubState.SUCCESS,
    S.FAILURE: GitHubState.FAILURE,
    S.ERROR: GitHubState.ERROR,
    S.CANCELLED: GitHubState.ERROR,
    S.SUPERSEDED: GitHubState.ERROR,
}


@pytest.mark.parametrize(("current", "wanted"), list(product(S, S)))
def test_the_table_has_these_arrows_and_no_other(
    current: DeploymentState, wanted: DeploymentState
) -> None:
    if (current, wanted) in ARROWS:
        ensure_transition(current, wanted)
    else:
        with pytest.raises(InvalidTransitionError, match=f"a {current} .* become {wanted}"):
            ensure_transition(current, wanted)


def test_the_table_knows_every_state() -> None:
    assert set(TRANSITIONS) == set(S)


@pytest.mark.parametrize("state", S)
def test_a_state_is_over_when_no_arrow_leaves_it(state: DeploymentState) -> None:
    assert state.is_over is (state not in {S.QUEUED, S.RUNNING})


@pytest.mark.parametrize("state", S)
def test_every_state_has_its_word_on_github(state: DeploymentState) -> None:
    assert github_state(state) is ON_GITHUB[state]


@pytest.mark.parametrize("state", [state for state in S if state.is_over])
def test_a_deployment_can_close_its_steps_with_its_own_state(state: DeploymentState) -> None:
    assert StepState(state).value == state.value


# Every character there is, halves of characters among them, which Hypothesis leaves out by itself.
ANYTHING = st.text(st.characters(), max_size=3000) | st.text(
    st.sampled_from("a \n\x00\x1b\u200b\u200d\u202e\u2066\ufeff\ufe0f\ud83d\ude80\U0001f680\u00e9")
)


class TestDescriptions:
    @given(number=st.integers(1, 10**9), state=st.sampled_from(S), reason=ANYTHING)
    def test_github_takes_every_one(self, number: int, state: DeploymentState, reason: str) -> None:
        said = github_description(number, state, reason)
        assert 0 < len(said) <= 140
        assert said == " ".join(said.split())
        assert said.startswith(f"Deployment #{number}")
        assert all(each.isprintable() and each <= "\uffff" for each in said)

    @pytest.mark.parametrize(
        ("reason", "told"),
        [
            ("\U0001f680 lift-off \U0001f469\u200d\U0001f4bb\ufe0f failed", "lift-off failed"),
            ("\u26a0\ufe0f gr\u00fc\u00dfe \u4e16\u754c", "\u26a0 gr\u00fc\u00dfe \u4e16\u754c"),
            ("half \ud83d of it", "half of it"),
            ("\u202etxt.exe\u200b\ufeff", "txt.exe"),
            ("one\x00two\x1b[31mthree", "one two [31mthree"),
            ("line\u2028 end", "line end"),
        ],
    )
    def test_what_github_refuses_or_nobody_sees_is_left_out(self, reason: str, told: str) -> None:
        assert github_description(5, S.FAILURE, reason) == f"Deployment #5: {told}"

    def test_a_reason_of_nothing_else_leaves_the_state(self) -> None:
        said = github_description(5, S.FAILURE, "\U0001f680\u200b" * 600)
        assert said == "Deployment #5 is failure"

    def test_the_bare_one_holds_nothing_from_outside(self) -> None:
        assert bare_description(5, GitHubState.FAILURE) == "Deployment #5: failure"

    def test_a_short_reason_is_told_whole(self) -> None:
        said = github_description(7, S.FAILURE, "the build\nfailed")
        assert said == "Deployment #7: the build failed"

    def test_without_a_reason_the_state_is_told(self) -> None:
        assert github_description(7, S.QUEUED, "") == "Deployment #7 is queued"

    def test_exactly_140_characters_are_not_cut(self) -> None:
        reason = "x" * (140 - len("Deployment #7: "))
        assert github_description(7, S.ERROR, reason).endswith("x")
        assert github_description(7, S.ERROR, reason + "x").endswith("x…")


@pytest.mark.parametrize(
    ("role", "includes"),
    [
        (Role.VIEWER, {Role.VIEWER}),
        (Role.DEPLOYER, {Role.VIEWER, Role.DEPLOYER}),
        (Role.ADMIN, set(Role)),
    ],
)
def test_a_role_includes_the_ones_below_it(role: Role, includes: set[Role]) -> None:
    assert {other for other in Role if role.includes(other)} == includes
