"""What is on record as made on the engine, whenever a worker is killed; and for how long."""

from datetime import timedelta

import pytest
from sqlmodel import select

from jobs.duties.sweep import sweep_containers
from jobs.errors import DockerError
from jobs.records.apps import remove_app
from jobs.records.engine_items import KEPT_UNSEEN
from jobs.rules.naming import container_name, image_tag, labels, network_name
from jobs.states import ContainerState, DeploymentState
from jobs.storage.models import App, EngineItem, Identity, ItemKind, Release, now
from tests.fakes import FakeEngine
from tests.jobs.bench import TESTER, Bench, kill


@pytest.fixture
def app(bench: Bench) -> App:
    return bench.app()


@pytest.fixture
def engine(bench: Bench) -> FakeEngine:
    return bench.world.engine


def record(bench: Bench, kind: ItemKind = ItemKind.CONTAINER) -> dict[str, str | None]:
    """Give the ids on record, by name."""
    with bench.reading() as session:
        rows = session.exec(select(EngineItem).where(EngineItem.kind == kind)).all()
    return {row.name: row.engine_id for row in rows}


def age(bench: Bench) -> None:
    """Have every row be from before the time that unseen things are kept on record for."""
    with bench.writing() as session:
        for row in session.exec(select(EngineItem)).all():
            row.made_at = now() - KEPT_UNSEEN - timedelta(seconds=1)


def adopt(bench: Bench) -> None:
    """Have this Keystone have been upgraded, or restored."""
    with bench.writing() as session:
        for row in session.exec(select(EngineItem)).all():
            session.delete(row)
        session.get_one(Identity, 1).adopts_items = True


class TestWhenItIsWritten:
    def test_before_the_container_is_made_and_with_its_id_afterwards(
        self, bench: Bench, app: App, engine: FakeEngine
    ) -> None:
        name, seen = container_name(bench.runtime.identity, "web", 1), []
        engine.on("start", lambda _: seen.append(record(bench)))
        bench.deploy(app)
        assert seen == [{name: None}]
        assert record(bench) == {name: bench.container_of(1)}
        assert list(record(bench, ItemKind.NETWORK)) == [
            network_name(bench.runtime.identity, "web")
        ]
        assert list(record(bench, ItemKind.IMAGE)) == [image.id for image in engine.images()]

    @pytest.mark.parametrize("call", ["ensure_network", "start"])
    def test_a_worker_that_is_killed_before_there_is_a_container(
        self, bench: Bench, app: App, engine: FakeEngine, call: str
    ) -> None:
        engine.on(call, kill)
        bench.run_and_die(bench.push(app))
        bench.reconcile()
        assert bench.deployment(1).state is DeploymentState.ERROR
        assert engine.containers() == []
        assert len(record(bench)) == 1, "the engine may be about to make it"
        age(bench)
        bench.reconcile()
        assert record(bench) == {}

    def test_a_worker_that_is_killed_before_it_could_add_the_id(
        self, bench: Bench, app: App, engine: FakeEngine
    ) -> None:
        identity, waiting = bench.runtime.identity, bench.push(app)

        def die_when_it_is_made(name: str) -> None:
            engine.add_container(name, labels(identity, "web", waiting))
            kill("")

        engine.on("start", die_when_it_is_made)
        bench.run_and_die(waiting)
        assert len(engine.containers()) == 1
        bench.reconcile()
        assert engine.containers() == []

    def test_a_container_that_the_engine_makes_after_its_worker_is_gone(
        self, bench: Bench, app: App, engine: FakeEngine
    ) -> None:
        engine.on("start", kill)
        bench.run_and_die(bench.push(app))
        bench.reconcile()
        late = engine.add_container(
            container_name(bench.runtime.identity, "web", 1),
            labels(bench.runtime.identity, "web", 1),
        )
        bench.reconcile()
        assert late not in engine.all_containers

    def test_what_was_left_by_an_attempt_makes_way_for_the_next_one(
        self, bench: Bench, app: App, engine: FakeEngine
    ) -> None:
        waiting = bench.push(app)
        left = bench.leave("web", waiting)
        assert bench.run(waiting).state is DeploymentState.SUCCESS
        assert left not in engine.all_containers
        assert record(bench) == {
            container_name(bench.runtime.identity, "web", waiting): bench.container_of(waiting)
        }


class TestWhatIsNotOnRecord:
    def test_a_name_and_labels_like_ours_are_no_proof(
        self, bench: Bench, app: App, engine: FakeEngine
    ) -> None:
        name = container_name(bench.runtime.identity, "web", 99)
        foreign = engine.add_container(name, labels(bench.runtime.identity, "web", 99))
        bench.deploy(app)
        bench.reconcile()
        assert foreign in engine.all_containers

    def test_a_foreign_container_with_the_next_name_stays_and_is_reported(
        self, bench: Bench, app: App, engine: FakeEngine
    ) -> None:
        waiting = bench.push(app)
        name = container_name(bench.runtime.identity, "web", waiting)
        foreign = engine.add_container(name, labels(bench.runtime.identity, "web", waiting))
        done = bench.run(waiting)
        assert done.state is DeploymentState.ERROR
        assert done.reason == (
            f"there is a container {name} that Keystone did not make; "
            "rename or remove it, then deploy again"
        )
        bench.reconcile()
        assert foreign in engine.all_containers

    def test_a_foreign_container_with_the_name_of_a_missing_one_stays(
        self, bench: Bench, app: App, engine: FakeEngine
    ) -> None:
        done = bench.deploy(app)
        engine.crash(bench.container_of(done.id or 0), ContainerState.MISSING)
        name = container_name(bench.runtime.identity, "web", done.id or 0)
        foreign = engine.add_container(name, labels(bench.runtime.identity, "web", done.id))
        bench.deploy(app)
        bench.reconcile()
        assert foreign in engine.all_containers

    def test_an_image_without_a_tag_goes_only_when_we_have_built_it(
        self, bench: Bench, app: App, engine: FakeEngine
    ) -> None:
        bench.deploy(app)
        (ours,) = engine.images()
        inherited = labels(bench.runtime.identity, "web")
        engine.add_image(ours.id, inherited)  # its tag has gone to another build
        engine.add_image("sha256:child", inherited)
        bench.reconcile()
        assert ours.id in engine.all_images, "a release needs it"
        engine.all_containers.clear()
        with bench.writing() as session:
            for release in session.exec(select(Release)).all():
                release.image_id = "sha256:other"
        bench.reconcile()
        assert list(engine.all_images) == ["sha256:child"]

    @pytest.mark.parametrize("is_removed", [True, False])
    def test_the_tags_of_others_stay_and_so_do_their_images(
        self, bench: Bench, app: App, engine: FakeEngine, *, is_removed: bool
    ) -> None:
        bench.deploy(app)
        identity = bench.runtime.identity
        inherited = labels(identity, "web")
        engine.add_image("sha256:1", inherited, "mine:1", f"keystone-{identity}/web:keep")
        old = image_tag(f"keystone-{identity}/web", "a" * 40, "b" * 12, bench.image_key())
        engine.add_image("sha256:2", inherited, old, "mine:2")
        if is_removed:
            with bench.writing() as session:
                remove_app(session, session.get_one(App, app.id), TESTER)
        bench.reconcile()
        left = {image.id: image.tags for image in engine.all_images.values()}
        assert left["sha256:1"] == ("mine:1", f"keystone-{identity}/web:keep")
        assert left["sha256:2"] == ("mine:2",)
        assert len(left) == (2 if is_removed else 3)

    def test_a_network_like_ours_is_no_proof(
        self, bench: Bench, app: App, engine: FakeEngine
    ) -> None:
        bench.deploy(app)
        identity = bench.runtime.identity
        engine.all_networks[network_name(identity, "gone")] = labels(identity, "gone")
        bench.reconcile()
        assert network_name(identity, "gone") in engine.all_networks


class TestHowLong:
    def test_what_is_there_stays_on_record(self, bench: Bench, app: App) -> None:
        bench.deploy(app)
        before = record(bench)
        age(bench)
        bench.reconcile()
        assert record(bench) == before

    def test_what_serves_stays_on_record_though_the_engine_does_not_show_it(
        self, bench: Bench, app: App, engine: FakeEngine
    ) -> None:
        bench.deploy(app)
        before = record(bench)
        age(bench)
        engine.all_containers.clear()
        bench.reconcile()
        assert record(bench) == before

    def test_many_deployments_leave_one_row_of_each_kind(self, bench: Bench, app: App) -> None:
        for _ in range(4):
            bench.deploy(app)
        bench.pass_trial(app)
        bench.reconcile()
        age(bench)
        bench.reconcile()
        assert [len(record(bench, kind)) for kind in ItemKind] == [1, 4, 1]

    def test_a_removed_apps_things_are_on_record_until_they_are_gone(
        self, bench: Bench, app: App, engine: FakeEngine
    ) -> None:
        bench.deploy(app)
        with bench.writing() as session:
            remove_app(session, session.get_one(App, app.id), TESTER)
        engine.fail("stop", DockerError("the container could not be removed"))
        age(bench)
        bench.reconcile()
        assert len(record(bench)) == 1
        engine.heal()
        bench.reconcile()
        age(bench)
        bench.reconcile()
        assert [len(record(bench, kind)) for kind in ItemKind] == [0, 0, 0]
        assert (engine.all_containers, engine.all_images, engine.all_networks) == ({}, {}, {})


class TestAfterAnUpgradeOrARestore:
    def test_what_is_there_under_our_names_is_put_on_record_once(
        self, bench: Bench, app: App, engine: FakeEngine
    ) -> None:
        bench.deploy(app)
        before = [record(bench, kind) for kind in ItemKind]
        adopt(bench)
        foreign = engine.add_container("by-hand", labels(bench.runtime.identity, "web"))
        sweep_containers(bench.runtime, bench.world.tools)
        assert [record(bench, kind) for kind in ItemKind] == before
        later = engine.add_container(
            container_name(bench.runtime.identity, "web", 99),
            labels(bench.runtime.identity, "web", 99),
        )
        bench.reconcile()
        assert {foreign, later} <= set(engine.all_containers)

    def test_what_a_removed_app_had_left_goes(
        self, bench: Bench, app: App, engine: FakeEngine
    ) -> None:
        bench.deploy(app)
        with bench.writing() as session:
            remove_app(session, session.get_one(App, app.id), TESTER)
        adopt(bench)
        bench.reconcile()
        assert (engine.all_containers, engine.all_images, engine.all_networks) == ({}, {}, {})

    def test_an_engine_that_is_down_is_waited_for(
        self, bench: Bench, app: App, engine: FakeEngine
    ) -> None:
        bench.deploy(app)
        adopt(bench)
        engine.down = True
        bench.reconcile()
        engine.down = False
        bench.reconcile()
        assert list(record(bench).values()) == [bench.container_of(1)]
