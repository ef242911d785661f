"""What nothing owns goes from the engine; what still serves somebody is given its time."""

import time
from collections.abc import Callable
from datetime import timedelta

import pytest
from sqlmodel import col, delete, select

from jobs.duties.sweep import sweep_containers
from jobs.errors import DockerError, StorageError
from jobs.records.leases import take
from jobs.rules.naming import DEPLOYMENT_LABEL, network_name
from jobs.states import DeploymentState
from jobs.storage.models import App, Deployment, Release, now
from tests.builders import change_settings
from tests.jobs.bench import Bench, kill


@pytest.fixture
def app(bench: Bench) -> App:
    return bench.app()


@pytest.fixture
def old(bench: Bench, app: App) -> str:
    """The container of a release that was replaced by one whose worker died before it was ended."""
    first = bench.deploy(app)
    second = bench.push(app)
    slot = bench.world.router.current[app.host_port].slot
    bench.world.router.on("in_flight", kill)
    bench.run_and_die(second)
    bench.world.router.flying[app.host_port, slot] = 2
    assert bench.deployment(second).state is DeploymentState.SUCCESS
    return bench.container_of(first.id or 0)


def made_with(bench: Bench, container: str, **settings: object) -> None:
    """Have the release of a container keep other settings."""
    labels = bench.world.engine.all_containers[container].about.labels
    with bench.writing() as session:
        made = session.get_one(Deployment, int(labels[DEPLOYMENT_LABEL]))
        release = session.get_one(Release, made.release_id)
        release.container = release.container.model_copy(update=settings)


class TestAnOldReleaseWhoseWorkerDied:
    def test_its_container_ends_once_its_last_request_is_answered(
        self, bench: Bench, app: App, old: str
    ) -> None:
        for _ in range(2):
            bench.reconcile()
            assert old in bench.world.engine.all_containers
        bench.world.journal.clear()
        bench.reconcile()
        released, halted = bench.world.calls("detach", "halt", "stop")
        assert (released.split()[0], halted) == ("detach", f"halt {old}")
        bench.pass_trial(app)
        assert old not in bench.world.engine.all_containers

    def test_its_container_ends_when_the_drain_time_is_over(
        self, bench: Bench, app: App, old: str
    ) -> None:
        with bench.writing() as session:
            live = session.get_one(Deployment, bench.fresh(app).live_deployment_id)
            live.ended_at = now() - timedelta(seconds=app.container.drain_timeout_s + 1)
        bench.pass_trial(app)
        assert old not in bench.world.engine.all_containers

    def test_it_has_the_grace_of_the_release_it_was_made_of(
        self, bench: Bench, app: App, old: str
    ) -> None:
        made_with(bench, old, stop_grace_s=77)
        with bench.writing() as session:
            change_settings(session.get_one(App, app.id), stop_grace_s=5)
        bench.world.router.flying.clear()
        bench.reconcile()
        assert bench.world.engine.graces[old] == 77

    def test_it_drains_as_long_as_its_release_says(self, bench: Bench, app: App, old: str) -> None:
        made_with(bench, old, drain_timeout_s=600)
        with bench.writing() as session:
            row = session.get_one(App, app.id)
            change_settings(row, drain_timeout_s=0)
            live = session.get_one(Deployment, row.live_deployment_id)
            live.ended_at = now() - timedelta(seconds=300)
        bench.world.journal.clear()
        bench.reconcile()
        assert bench.world.calls("detach", "halt", "stop") == []


class TestWhatHappensWhileAContainerTakesItsTimeToEnd:
    """The sweep holds no lease: others go on with what it has not come to yet."""

    @pytest.fixture
    def other(self, bench: Bench) -> App:
        return bench.app("api")

    @pytest.fixture
    def leftovers(self, bench: Bench, app: App, other: App) -> list[str]:
        """One of each app, in the order in which they are removed."""
        for each in (app, other):
            bench.run(bench.ask(each, sha=bench.commit()))
        return [bench.leave(each.name, 99) for each in (app, other)]

    def test_a_slot_that_has_become_the_live_one_is_not_released(
        self, bench: Bench, other: App, leftovers: list[str]
    ) -> None:
        bench.world.engine.on("stop", once(lambda: bench.run(bench.ask(other, sha=bench.commit()))))
        bench.reconcile()
        assert bench.serving(other) == bench.fresh(other).live_container_id
        bench.reconcile()
        assert bench.serving(other) == bench.fresh(other).live_container_id
        assert not set(leftovers) & set(bench.world.engine.all_containers)

    def test_an_app_that_a_worker_has_taken_is_left_to_it(
        self, bench: Bench, other: App, leftovers: list[str]
    ) -> None:
        taken = once(lambda: take_app(bench, other))
        bench.world.engine.on("stop", taken)
        bench.world.journal.clear()
        sweep_containers(bench.runtime, bench.world.tools)
        assert bench.world.calls("stop") == [f"stop {leftovers[0]}"]
        assert [call for call in bench.world.calls("detach") if str(other.host_port) in call] == []

    def test_an_app_that_was_removed_and_made_again_keeps_its_network(
        self, bench: Bench, other: App, leftovers: list[str]
    ) -> None:
        with bench.writing() as session:
            session.exec(delete(App).where(col(App.id) == other.id))
        network = network_name(bench.runtime.identity, "api")
        bench.world.engine.on("stop", once(lambda: bench.app("api")))
        sweep_containers(bench.runtime, bench.world.tools)
        assert network in bench.world.engine.all_networks
        assert leftovers[1] not in bench.world.engine.all_containers

    def test_nobody_can_take_the_app_while_its_slot_is_released(
        self, bench: Bench, leftovers: list[str]
    ) -> None:
        refused: list[str] = []

        def try_to_take(_about: str) -> None:
            with (
                pytest.raises(StorageError),
                bench.runtime.database.writing(until=time.monotonic() + 0.05),
            ):
                pass
            refused.append(_about)

        bench.world.router.on("detach", try_to_take)
        bench.reconcile()
        assert len(refused) == len(leftovers)


def once(do: Callable[[], object]) -> Callable[[str], None]:
    """Do something in the middle of the first such call."""
    left = [do]

    def act(_about: str) -> None:
        if left:
            left.pop()()

    return act


def take_app(bench: Bench, app: App) -> None:
    """Have a worker begin to deploy the app."""
    asked = bench.ask(app)
    with bench.writing() as session:
        take(session, app.id or 0, asked, "worker:2")


def test_a_container_that_cannot_be_removed_holds_up_no_other(bench: Bench, app: App) -> None:
    engine = bench.world.engine
    stuck, other = (bench.leave(app.name, number) for number in (97, 98))

    def refuse(about: str) -> None:
        if about == stuck:
            raise DockerError("the container could not be removed")

    engine.on("stop", refuse)
    bench.reconcile()
    assert stuck in engine.all_containers
    assert other not in engine.all_containers


class TestImages:
    def tags(self, bench: Bench) -> set[str]:
        return {tag for image in bench.world.engine.images() for tag in image.tags}

    def test_an_image_without_a_release_is_removed_once_the_app_is_idle(
        self, bench: Bench, app: App
    ) -> None:
        bench.deploy(app)
        kept = self.tags(bench)
        second = bench.push(app)
        bench.world.engine.on("start", kill)
        bench.run_and_die(second)
        assert len(self.tags(bench)) == 2
        waiting = bench.ask(app)
        bench.reconcile()
        assert bench.deployment(second).state is DeploymentState.ERROR
        assert len(self.tags(bench)) == 2, "the one that waits may need it"
        bench.cancel(waiting)
        bench.reconcile()
        assert self.tags(bench) == kept

    def test_an_image_stays_if_its_app_has_a_queued_deployment_by_then(
        self, bench: Bench, app: App
    ) -> None:
        other = bench.app("api")
        for each in (app, other):
            bench.run(bench.ask(each, sha=bench.commit()))
            forget_releases(bench, each)
        first, _second = (image.tags[0] for image in bench.world.engine.images())
        bench.world.engine.on("remove_image", once(lambda: bench.ask(other)))
        bench.reconcile()
        assert bench.world.calls("remove_image") == [f"remove_image {first}"]

    def test_images_that_a_rollback_needs_stay(self, bench: Bench, app: App) -> None:
        for _ in range(3):
            bench.deploy(app)
        before = self.tags(bench)
        bench.reconcile()
        assert self.tags(bench) == before
        assert len(before) == 3


def forget_releases(bench: Bench, app: App) -> None:
    """Have an app's images be of no release, as those of a worker that was killed."""
    with bench.writing() as session:
        for release in session.exec(select(Release).where(Release.app_id == app.id)).all():
            release.image = release.image_id = "none"
