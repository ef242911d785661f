"""The newest push wins, in whatever order GitHub delivers."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from itertools import permutations

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from sqlalchemy import event
from sqlmodel import Session

from jobs.deployment.claims import Claim, claim_next, outdated
from jobs.records.leases import give_back
from jobs.rules.triggers import Order, Push, compare
from jobs.states import PUSHES, ActorKind, DeploymentState, Kind, Trigger
from jobs.storage.models import App, Deployment
from tests.jobs.bench import Bench, push_of

# Without shrinking: each example deploys for a second, and a failure shall show up in time.
KEEP_BENCH = settings(
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
    deadline=None,
    max_examples=12,
    phases=[Phase.explicit, Phase.reuse, Phase.generate],
)


@pytest.fixture
def app(bench: Bench) -> App:
    return bench.app()


def claim(bench: Bench, app: App) -> Claim | None:
    with bench.writing() as session:
        return claim_next(session, app.id or 0, "worker:1")


def pushes(bench: Bench, count: int, *, second: int | None = None) -> list[Push]:
    """Commit and describe pushes, each on top of the one before; perhaps all in one second."""
    found = [push_of(bench, bench.commit(f"push {number}")) for number in range(count)]
    return found if second is None else [replace(push, pushed_at=second) for push in found]


def run_all(bench: Bench, ids: list[int]) -> None:
    for deployment_id in ids:
        bench.run(deployment_id)
    # Whoever was woken up in between.
    while waiting := [i for i in ids if bench.deployment(i).state is DeploymentState.QUEUED]:
        bench.run(waiting[0])


@KEEP_BENCH
@given(
    order=st.permutations(range(5)),
    worker_comes_after=st.sets(st.integers(0, 4)),
    same_second=st.booleans(),
)
def test_the_newest_of_five_pushes_is_live_in_the_end_in_every_order(
    *, bench: Bench, order: list[int], worker_comes_after: set[int], same_second: bool
) -> None:
    app = bench.app(f"app-{bench.deliveries}")
    described = pushes(bench, 5, second=1_800_000_000 + bench.pushed if same_second else None)
    ids = []
    lived: list[str] = []
    for place, number in enumerate(order):
        receipt = bench.deliver(described[number])
        ids += [row.id or 0 for row, name in receipt.deployments if name == app.name]
        if place in worker_comes_after:
            run_all(bench, ids)
            lived.append(live_commit(bench, app))
    run_all(bench, ids)
    lived.append(live_commit(bench, app))
    assert lived[-1] == described[-1].commit_sha
    # And once the newest was live, no older one took its place.
    first = lived.index(described[-1].commit_sha)
    assert set(lived[first:]) == {described[-1].commit_sha}
    assert set(bench.states(app)) <= {"success", "superseded"}


def live_commit(bench: Bench, app: App) -> str:
    live = bench.fresh(app).live_deployment_id
    return bench.deployment(live).commit_sha if live else ""


@pytest.mark.parametrize("order", list(permutations(range(3))))
def test_of_waiting_pushes_only_the_newest_is_built(
    bench: Bench, app: App, order: tuple[int, ...]
) -> None:
    described = pushes(bench, 3)
    ids = {n: bench.deliver(described[n]).deployments[0][0].id or 0 for n in order}
    bench.run(ids[order[0]])
    assert len(bench.world.calls("build")) == 1
    assert [str(bench.deployment(ids[n]).state) for n in range(3)] == [
        "superseded",
        "superseded",
        "success",
    ]
    assert "is a newer push" in bench.deployment(ids[0]).reason


def test_a_late_push_of_the_same_second_does_not_replace_the_second_next_push(
    bench: Bench, app: App
) -> None:
    """C is live; A arrives, then B: A and C cannot be compared, but B led to C."""
    a, b, c = pushes(bench, 3, second=1_800_000_000)
    bench.run(bench.deliver(c).deployments[0][0].id or 0)
    late = [bench.deliver(push).deployments[0][0].id or 0 for push in (a, b)]
    run_all(bench, late)
    assert live_commit(bench, app) == c.commit_sha
    assert bench.states(app) == ["success", "superseded", "superseded"]


def test_manual_deployments_neither_supersede_nor_are_superseded(bench: Bench, app: App) -> None:
    first = bench.push(app)
    manual = bench.ask(app, sha=bench.deployment(first).commit_sha)
    second = bench.push(app)
    again = bench.ask(app)
    for deployment_id in (first, manual, second, again):
        bench.run(deployment_id)
    assert bench.states(app) == ["superseded", "success", "success", "success"]


def test_pushes_of_different_branches_do_not_compete(bench: Bench, app: App) -> None:
    first = bench.push(app)
    with bench.writing() as session:
        session.get_one(App, app.id).branch = "next"
    sha = bench.repository().commit({"Dockerfile": "FROM scratch", "x": "y"}, branch="next")
    bench.deliver(push_of(bench, sha, ref="refs/heads/next"))
    assert bench.run(first).state is DeploymentState.SUCCESS


class TestAmbiguousPushes:
    """Pushes of one second: only the branch can tell."""

    @pytest.mark.parametrize("order", [*permutations(range(3))])
    def test_of_a_circle_of_pushes_the_branchs_head_is_deployed(
        self, bench: Bench, app: App, order: tuple[int, ...]
    ) -> None:
        """Each push finds what another one left, in a circle: the chain would outdate them all."""
        shas = [bench.commit(message) for message in ("one", "two", "three")]
        circle = [
            push_of(bench, sha, pushed_at=1_800_000_000, before=shas[number - 1])
            for number, sha in enumerate(shas)
        ]
        ids = [bench.deliver(circle[i]).deployments[0][0].id or 0 for i in order]
        run_all(bench, ids)
        states = dict(zip(order, bench.states(app), strict=True))
        assert states == {0: "superseded", 1: "superseded", 2: "success"}

    def ambiguous(self, bench: Bench) -> tuple[int, int, Push, Push]:
        one = push_of(bench, bench.commit("one"), pushed_at=1_800_000_000, before="e" * 40)
        two = push_of(bench, bench.commit("two"), pushed_at=1_800_000_000, before="f" * 40)
        ids = [bench.deliver(push).deployments[0][0].id or 0 for push in (one, two)]
        return ids[0], ids[1], one, two

    def test_no_ambiguous_push_is_superseded_before_the_branch_was_read(
        self, bench: Bench, app: App
    ) -> None:
        first, second, _, _ = self.ambiguous(bench)
        mine = claim(bench, app)
        assert mine is not None
        assert mine.held.deployment_id == second
        assert [rival.deployment_id for rival in mine.rivals] == [first]
        assert bench.states(app) == ["queued", "queued"]
        with bench.writing() as session:
            give_back(session, mine.held)

    @pytest.mark.usefixtures("app")
    def test_the_branchs_head_wins_when_it_arrived_last(self, bench: Bench) -> None:
        first, second, _, _ = self.ambiguous(bench)
        bench.run(first)
        assert bench.deployment(second).state is DeploymentState.SUCCESS
        assert bench.deployment(first).state is DeploymentState.SUPERSEDED
        assert bench.deployment(first).reason == "#2 is a newer push"

    @pytest.mark.usefixtures("app")
    def test_the_branchs_head_wins_when_it_arrived_first(self, bench: Bench) -> None:
        first, second, one, _ = self.ambiguous(bench)
        bench.repository().refs["refs/heads/main"] = one.commit_sha
        bench.run(first)
        assert bench.deployment(second).state is DeploymentState.SUPERSEDED
        assert bench.deployment(second).reason == "main has moved on to #1"
        assert bench.runtime.queue.waiting() == {first}
        bench.run(first)
        assert bench.deployment(first).state is DeploymentState.SUCCESS

    def test_a_live_push_is_a_rival_too(self, bench: Bench, app: App) -> None:
        live = bench.deploy(app)
        late = push_of(bench, bench.repository().commit({"x": "y"}, branch="lost"), before="f" * 40)
        receipt = bench.deliver(replace(late, pushed_at=live.pushed_at))
        done = bench.run(receipt.deployments[0][0].id or 0)
        assert done.state is DeploymentState.SUPERSEDED
        assert done.reason == "main has moved on to #1"

    @pytest.mark.usefixtures("app")
    def test_if_the_branch_has_neither_commit_the_last_arrival_wins(self, bench: Bench) -> None:
        first, second, _, _ = self.ambiguous(bench)
        bench.commit("three, of which nobody has told us yet")
        bench.run(first)
        assert bench.deployment(second).state is DeploymentState.SUCCESS
        assert bench.deployment(first).state is DeploymentState.SUPERSEDED


def test_without_queued_deployments_nothing_is_claimed(bench: Bench, app: App) -> None:
    assert claim(bench, app) is None
    assert bench.leases() == []


# --- Many that wait --------------------------------------------------------------------------

MANY = 2000


class Second(int):
    """A second of GitHub's clock that counts how often it is compared with another."""

    compared = 0

    def __lt__(self, other: int) -> bool:
        Second.compared += 1
        return int(self) < int(other)

    def __eq__(self, other: object) -> bool:
        Second.compared += 1
        return int(self) == other

    __hash__ = int.__hash__


def pushed(
    at: int | None,
    *,
    sha: str = "",
    ref: str = "refs/heads/main",
    trigger: Trigger = Trigger.PUSH,
    number: int = 1,
) -> Deployment:
    """Make the row of a push that waits."""
    return Deployment(
        app_id=1,
        number=number,
        kind=Kind.UPDATE,
        trigger=trigger,
        ref=ref,
        commit_sha=sha or f"{number:040x}",
        actor_kind=ActorKind.WEBHOOK,
        actor_name="github",
        pushed_at=at,
    )


def is_older(one: Deployment, other: Deployment) -> bool:
    """Say what makes a push outdated, of one pair."""
    return (
        one.ref == other.ref
        and {one.trigger, other.trigger} <= PUSHES
        and one.commit_sha != other.commit_sha
        and compare(one.pushed_at, other.pushed_at) is Order.OLDER
    )


rows = st.lists(
    st.builds(
        pushed,
        st.none() | st.integers(1, 4),
        sha=st.sampled_from(["a" * 40, "b" * 40, "c" * 40]),
        ref=st.sampled_from(["refs/heads/main", "refs/tags/v1"]),
        trigger=st.sampled_from([Trigger.PUSH, Trigger.CATCH_UP, Trigger.MANUAL]),
    ),
    max_size=8,
)


@given(queued=rows, live=rows)
def test_a_push_is_outdated_if_any_other_push_is_newer(
    queued: list[Deployment], live: list[Deployment]
) -> None:
    known = [*queued, *live]
    pairs = outdated(queued, known)
    wanted = [row for row in queued if any(is_older(row, other) for other in known)]
    assert [id(old) for old, _ in pairs] == [id(row) for row in wanted]
    for old, new in pairs:
        assert is_older(old, new)
        assert not any(is_older(old, other) and is_older(new, other) for other in known)


def test_thousands_of_queued_pushes_are_not_compared_pairwise() -> None:
    order = [number * 7 % MANY for number in range(MANY)]
    waiting = [pushed(Second(at), number=at) for at in order]
    Second.compared = 0
    assert len(outdated(waiting, waiting)) == MANY - 1
    assert Second.compared < 20 * MANY


def test_the_last_deployed_push_is_read_once_for_each_branch(bench: Bench, app: App) -> None:
    for push in pushes(bench, 5):
        bench.deliver(push)
    with bench.writing() as session, statements(session) as asked:
        claim_next(session, app.id or 0, "worker:1")
    # Once for those that are outdated, and once for the rivals of the one that is left.
    assert sum("started_at IS NOT NULL" in statement for statement in asked) == 2


@contextmanager
def statements(session: Session) -> Iterator[list[str]]:
    """Collect what the database is asked within the block."""
    found: list[str] = []

    def note(_connection: object, _cursor: object, statement: str, *_: object) -> None:
        found.append(statement)

    event.listen(session.connection(), "before_cursor_execute", note)
    yield found
    event.remove(session.connection(), "before_cursor_execute", note)
