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


class TestDescriptions:
    @given(number=st.integers(1, 10**9), state=st.sampled_from(S), reason=st.text(max_size=3000))
    def test_github_takes_every_one(self, number: int, state: DeploymentState, reason: str) -> None:
        said = github_description(number, state, reason)
        assert 0 < len(said) <= 140
        assert said == " ".join(said.split())
        assert said.startswith(f"Deployment #{number}")

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
