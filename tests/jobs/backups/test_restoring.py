"""A restored Keystone: what it remembers, what it forgets, and that every app comes back."""

from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from pydantic import SecretStr
from sqlalchemy import text
from sqlmodel import col, select

from jobs.backups.making import Contents
from jobs.errors import (
    BackupError,
    ConfigurationError,
    ConflictError,
    KeystoneError,
    NotFoundError,
    StorageError,
)
from jobs.processes.supervise import claim_identity, take_over
from jobs.reads.apps import app_view
from jobs.reads.audit import AuditFilter, audit_page
from jobs.reads.variables import open_variables
from jobs.reads.views import AppView
from jobs.records.logins import open_session
from jobs.records.pushes import asked_for_since
from jobs.records.rollbacks import roll_back
from jobs.records.variables import set_variables
from jobs.rules.naming import labels
from jobs.rules.variables import Variable
from jobs.settings import WorkerSettings
from jobs.states import ContainerState, DeploymentState, Kind, Role, StepName, StepState, Trigger
from jobs.storage.database import Database
from jobs.storage.deployment_log import log_path
from jobs.storage.models import App, Deployment, Lease, LoginSession, Release, Step, User
from jobs.storage.vault import KEY_FILE
from tests.builders import change_settings
from tests.jobs.backups.conftest import backup_of, elsewhere, restore
from tests.jobs.bench import TESTER, Bench, KilledError, kill

Started = Callable[..., Bench]

API_KEY_NAME = "API_KEY"
API_KEY = Variable(SecretStr("an api key nobody sees"))


def sole_app(bench: Bench) -> App:
    with bench.reading() as session:
        return session.exec(select(App)).one()


def newest(bench: Bench) -> Deployment:
    with bench.reading() as session:
        newest_first = select(Deployment).order_by(col(Deployment.id).desc())
        found = session.exec(newest_first).first()
    assert found is not None
    return found


def variables_of(bench: Bench, deployment: Deployment) -> dict[str, str]:
    """Give what the container of a deployment found in its environment."""
    container = bench.world.engine.all_containers[bench.container_of(deployment.id or 0)]
    return {name: value.get_secret_value() for name, value in container.spec.environment.items()}


def app_view_of(bench: Bench, name: str = "web") -> AppView:
    with bench.reading() as session:
        return app_view(session, name, bench.runtime.settings)


class TestOnANewMachine:
    @pytest.fixture
    def there(self, bench: Bench, app: App, settings: WorkerSettings, started: Started) -> Bench:
        """Restore the backup of a Keystone whose app is live, and start it."""
        with bench.writing() as session:
            row = session.get_one(App, app.id)
            set_variables(session, row, {API_KEY_NAME: API_KEY}, TESTER, vault=bench.runtime.vault)
        backup = backup_of(settings)
        restored = restore(elsewhere(settings), backup)
        assert restored.revived.apps == ["web"]
        assert restored.revived.serving == []
        return started(elsewhere(settings))

    def test_each_app_is_deployed_again_at_its_live_commit(
        self, there: Bench, bench: Bench, app: App
    ) -> None:
        there.reconcile()  # nothing of the other machine can mislead it
        queued = newest(there)
        assert there.run(queued.id or 0).state is DeploymentState.SUCCESS
        view = app_view_of(there)
        assert view.live_commit_sha == app_view_of(bench).live_commit_sha
        assert view.live_commit_sha != bench.repository().refs["refs/heads/main"]
        assert there.serving(app) == there.container_of(queued.id or 0)
        assert view.host_port == app.host_port

    def test_the_live_release_is_restored_unchanged(self, there: Bench, bench: Bench) -> None:
        queued = newest(there)
        there.run(queued.id or 0)
        # The variable was set after the release was made.
        assert API_KEY_NAME not in variables_of(there, queued)
        before, after = app_view_of(bench), app_view_of(there)
        assert (after.live_release, after.needs_redeploy) == (before.live_release, True)
        assert after.auto_deploy
        assert there.steps(queued.id or 0)[StepName.BUILD] is StepState.SUCCESS

    def test_the_release_stays_the_same_when_its_worker_dies(self, there: Bench) -> None:
        queued = newest(there)
        there.world.engine.on("build", kill)
        there.run_and_die(queued.id or 0)
        there.reconcile()
        done = there.run(queued.id or 0)
        assert (done.state, done.attempts) == (DeploymentState.SUCCESS, 2)
        assert API_KEY_NAME not in variables_of(there, queued)

    def test_history_says_why(self, there: Bench) -> None:
        queued = newest(there)
        # A redeploy, in the words of the pages, of what is live.
        assert (queued.trigger, queued.kind) == (Trigger.MANUAL, Kind.UPDATE)
        assert queued.number == 2
        with there.reading() as session:
            requested = audit_page(session, AuditFilter(tag="deployment.requested")).items[0]
        assert requested.details["release"] == "v1"
        assert "restored from a backup of 20" in queued.actor
        with there.reading() as session:
            (event,) = audit_page(session, AuditFilter(tag="keystone.restored")).items
        assert event.actor == "cli:ada"
        assert event.details["apps"] == ["web"]

    def test_the_release_is_deployed_once_however_often_keystone_starts(
        self, there: Bench, settings: WorkerSettings, started: Started
    ) -> None:
        there.run(newest(there).id or 0)
        again = started(elsewhere(settings), there.world)
        again.reconcile()
        assert again.states(sole_app(again)) == ["success", "success"]

    def test_the_restored_release_does_not_stop_the_catch_up_since_the_backup(
        self, there: Bench
    ) -> None:
        with there.reading() as session:
            before = newest(there).queued_at - timedelta(days=1)
            assert asked_for_since(session, sole_app(there), before) is None
        there.ask(sole_app(there))
        with there.reading() as session:
            assert asked_for_since(session, sole_app(there), before) is not None

    def test_no_address_of_the_other_machine_is_used(self, there: Bench) -> None:
        app = sole_app(there)
        assert (app.live_container_id, app.live_address, app.live_slot) == (None, None, None)
        there.reconcile()
        assert there.world.router.current == {}
        assert app_view_of(there).state == "deploying"

    def test_an_app_that_cannot_be_deployed_again_says_so(self, there: Bench) -> None:
        there.world.source.down = True
        assert there.run(newest(there).id or 0).state is DeploymentState.ERROR
        there.reconcile()
        view = app_view_of(there)
        assert (view.state, bool(view.state_reason)) == ("stopped", True)

    def test_secrets_and_the_identity_are_the_same(self, there: Bench, bench: Bench) -> None:
        with there.reading() as session:
            found = open_variables(session, sole_app(there), there.runtime.vault)
        assert found == {"API_KEY": API_KEY}
        assert there.runtime.identity == bench.runtime.identity

    def test_an_app_that_was_never_live_stays_new(
        self, bench: Bench, settings: WorkerSettings, started: Started
    ) -> None:
        bench.app("idle")
        restored = restore(elsewhere(settings, "third"), backup_of(settings))
        assert "idle" not in restored.revived.apps
        there = started(elsewhere(settings, "third"))
        with there.reading() as session:
            assert app_view(session, "idle", settings).state == "new"


def test_a_release_that_was_rolled_back_is_not_deployed_again(
    bench: Bench, app: App, settings: WorkerSettings, started: Started
) -> None:
    def configure(value: str, **columns: object) -> None:
        with bench.writing() as session:
            row = session.get_one(App, app.id)
            wanted = {"MODE": Variable(SecretStr(value), is_secret=False)}
            set_variables(session, row, wanted, TESTER, vault=bench.runtime.vault)
            change_settings(row, **columns)

    configure("good", memory_mb=64, build_args=["MODE"])
    good = bench.deploy(app)
    configure("bad", memory_mb=8)
    bench.deploy(app)
    with bench.writing() as session:
        rollback = roll_back(session, session.get_one(App, app.id), None, TESTER)
    bench.run(rollback.id or 0)
    restore(elsewhere(settings), backup_of(settings))

    there = started(elsewhere(settings))
    done = there.run(newest(there).id or 0)
    assert done.state is DeploymentState.SUCCESS, done.reason
    assert (done.commit_sha, done.release_id) == (good.commit_sha, good.release_id)
    assert variables_of(there, done)["MODE"] == "good"
    spec = there.world.engine.all_containers[there.container_of(done.id or 0)].spec
    assert spec.settings.memory_mb == 64
    with there.reading() as session:
        release = session.get_one(Release, done.release_id)
    # The tag names the build arguments that went in.
    assert {tag for image in there.world.engine.images() for tag in image.tags} == {release.image}
    view = app_view_of(there)
    assert (view.live_release, view.auto_deploy) == (release.number, False)


class TestWhatWasUnderWay:
    def test_deployments_end_with_a_reason_and_leases_and_logins_are_gone(
        self, bench: Bench, app: App, settings: WorkerSettings, started: Started
    ) -> None:
        running, queued = bench.push(app), bench.push(app)
        bench.world.engine.on("build", kill)
        with pytest.raises(KilledError):
            bench.run(running)
        with bench.writing() as session:
            user = User(name="ada", role=Role.ADMIN, password_hash="none")
            session.add(user)
            session.flush()
            open_session(session, user, TESTER)
        restore(elsewhere(settings), backup_of(settings))
        there = started(elsewhere(settings))
        ended = [there.deployment(each) for each in (running, queued)]
        assert {row.state for row in ended} <= {DeploymentState.ERROR, DeploymentState.SUPERSEDED}
        assert "when the backup of" in " ".join(row.reason for row in ended)
        assert StepState.RUNNING not in [step.state for step in there.step_rows(running)]
        with there.reading() as session:
            assert session.exec(select(Lease)).all() == []
            assert session.exec(select(LoginSession)).all() == []
            assert session.exec(select(Step).where(col(Step.ended_at).is_(None))).all() == []

    def test_what_was_to_be_cancelled_ends_cancelled(
        self, bench: Bench, app: App, settings: WorkerSettings, started: Started
    ) -> None:
        running = bench.push(app)
        bench.world.engine.on("build", kill)
        with pytest.raises(KilledError):
            bench.run(running)
        bench.cancel(running)
        restore(elsewhere(settings), backup_of(settings))
        assert started(elsewhere(settings)).deployment(running).state is DeploymentState.CANCELLED


@pytest.mark.usefixtures("app")
class TestOnTheSameMachine:
    def test_the_apps_go_on_serving_until_they_are_deployed_again(
        self, bench: Bench, app: App, settings: WorkerSettings, started: Started
    ) -> None:
        backup = backup_of(settings)
        bench.runtime.database.close()
        old = bench.serving(app)
        found = bench.world.engine.containers()
        restored = restore(settings, backup, containers=found, force=True)
        assert restored.revived.serving == ["web"]
        again = started(settings, bench.world)
        again.reconcile()
        assert again.serving(app) == old
        queued = newest(again)
        assert again.run(queued.id or 0).state is DeploymentState.SUCCESS
        assert again.serving(app) == again.container_of(queued.id or 0) != old

    def test_a_release_that_went_live_after_the_backup_serves_until_then(
        self, bench: Bench, app: App, settings: WorkerSettings, started: Started
    ) -> None:
        backup = backup_of(settings)
        later = bench.deploy(app)
        bench.runtime.database.close()
        found = bench.world.engine.containers()
        restore(settings, backup, containers=found, force=True)
        again = started(settings, bench.world)
        again.reconcile()
        assert again.serving(app) == again.container_of(later.id or 0)
        queued = newest(again)
        # Never under the name of a container that is still there.
        assert (queued.id or 0) > (later.id or 0)
        assert again.run(queued.id or 0).state is DeploymentState.SUCCESS
        assert again.containers_of(later.id or 0) == []

    @pytest.mark.parametrize(
        "changes",
        [{"state": ContainerState.EXITED}, {"ip": ""}, {"labels": labels("ident", "another", 1)}],
    )
    def test_a_container_that_does_not_serve_the_app_is_not_taken_over(
        self, bench: Bench, settings: WorkerSettings, changes: dict[str, Any]
    ) -> None:
        (container,) = bench.world.engine.containers()
        other = replace(container, **changes)
        restored = restore(elsewhere(settings), backup_of(settings), containers=[other])
        assert restored.revived.serving == []

    def test_the_replaced_data_is_kept_beside_the_restored_data(
        self, bench: Bench, settings: WorkerSettings, started: Started
    ) -> None:
        backup = backup_of(settings)
        bench.app("later")
        later = bench.push(bench.app("last"))
        log_path(settings.logs_dir, later).write_text("of a deployment the backup knows nothing of")
        bench.runtime.database.close()
        restored = restore(settings, backup, force=True)
        database, logs = restored.moved
        with closing(Database(f"sqlite:///{database}")) as old, old.reading() as session:
            assert [row.name for row in session.exec(select(App)).all()] == ["web", "later", "last"]
        assert [path.name for path in logs.iterdir()] == [f"{later}.log"]
        again = started(settings)
        with again.reading() as session:
            assert [row.name for row in session.exec(select(App)).all()] == ["web"]
        assert log_path(settings.logs_dir, 1).exists()


@pytest.mark.usefixtures("app")
class TestRefusing:
    @pytest.fixture
    def backup(self, settings: WorkerSettings) -> bytes:
        return backup_of(settings)

    def test_while_keystone_runs(self, backup: bytes, settings: WorkerSettings) -> None:
        with take_over(settings.data_dir), pytest.raises(ConflictError, match="stop it first"):
            restore(settings, backup, force=True)

    def test_while_the_original_runs_elsewhere(
        self, backup: bytes, bench: Bench, settings: WorkerSettings
    ) -> None:
        with (
            claim_identity(bench.runtime.identity, bench.runtime.settings.data_dir),
            pytest.raises(ConflictError, match="runs on this machine already"),
        ):
            restore(elsewhere(settings), backup)
        assert not (elsewhere(settings).data_dir / "keystone.db").exists()

    def test_while_a_part_of_it_still_has_the_database(
        self, backup: bytes, bench: Bench, settings: WorkerSettings
    ) -> None:
        with bench.reading() as session:
            session.exec(select(App)).all()
            with pytest.raises(ConflictError, match="something still uses the database"):
                restore(settings, backup, force=True)

    def test_where_there_is_a_database(self, backup: bytes, settings: WorkerSettings) -> None:
        before = (settings.data_dir / "keystone.db").read_bytes()
        with pytest.raises(ConflictError, match="say --force to move it aside"):
            restore(settings, backup)
        assert (settings.data_dir / "keystone.db").read_bytes() == before

    def test_with_another_key_in_the_settings(
        self, bench: Bench, app: App, settings: WorkerSettings
    ) -> None:
        with bench.writing() as session:
            row = session.get_one(App, app.id)
            set_variables(session, row, {"API_KEY": API_KEY}, TESTER, vault=bench.runtime.vault)
        place = elsewhere(settings).model_copy(
            update={"secret_key": SecretStr("another key than it was sealed with")}
        )
        with pytest.raises(ConfigurationError, match="key from KEYSTONE_SECRET_KEY does not open"):
            restore(place, backup_of(settings))
        assert list(place.data_dir.glob("*")) == [place.data_dir / "run"]

    def test_without_any_key(self, settings: WorkerSettings) -> None:
        with pytest.raises(NotFoundError, match="--without-key; set KEYSTONE_SECRET_KEY"):
            restore(elsewhere(settings), backup_of(settings, Contents(key=False)))

    def test_a_newer_schema(self, bench: Bench, settings: WorkerSettings) -> None:
        with bench.runtime.database.writer_engine.begin() as connection:
            connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
            connection.execute(text("UPDATE schema_use SET oldest = '9999'"))
        with pytest.raises(StorageError, match="schema 9999, which is newer"):
            restore(elsewhere(settings), backup_of(settings))

    def test_a_backup_of_the_other_kind_of_database(self, settings: WorkerSettings) -> None:
        keys = backup_of(settings, Contents(database=False))
        with pytest.raises(BackupError, match="pg_restore"):
            restore(elsewhere(settings), keys)
        other = settings.model_copy(update={"database_url": "postgresql+psycopg://nowhere/k"})
        with pytest.raises(BackupError, match="unset it"):
            restore(other, backup_of(settings))

    @pytest.mark.parametrize("left", [0, 1, 100, -20])
    def test_what_was_cut_off(self, backup: bytes, settings: WorkerSettings, left: int) -> None:
        with pytest.raises(BackupError, match="damaged, or was cut off"):
            restore(elsewhere(settings), backup[:left])
        assert not list(elsewhere(settings).data_dir.glob("*.db"))

    def test_what_was_changed_on_the_way(self, backup: bytes, settings: WorkerSettings) -> None:
        changed = bytearray(backup)
        changed[len(changed) // 2] ^= 0x40
        with pytest.raises(BackupError):
            restore(elsewhere(settings), bytes(changed))

    def test_nothing_is_left_of_a_refused_one(
        self, backup: bytes, settings: WorkerSettings
    ) -> None:
        with pytest.raises(KeystoneError):
            restore(elsewhere(settings), backup[:-20])
        assert list(elsewhere(settings).data_dir.glob(".*")) == []


@pytest.mark.usefixtures("app")
class TestKeys:
    def test_a_key_of_the_settings_that_fits_is_used(
        self, settings: WorkerSettings, started: Started
    ) -> None:
        key = SecretStr((settings.data_dir / KEY_FILE).read_text().strip())
        place = elsewhere(settings).model_copy(update={"secret_key": key})
        restore(place, backup_of(settings, Contents(key=False)))
        assert not (place.data_dir / KEY_FILE).exists()
        assert started(place).run(2).state is DeploymentState.SUCCESS

    def test_the_old_key_is_kept_beside_the_new_one(self, settings: WorkerSettings) -> None:
        place = elsewhere(settings)
        place.data_dir.mkdir(mode=0o700)
        (place.data_dir / KEY_FILE).write_text("a key from before the restore")
        restored = restore(place, backup_of(settings))
        (kept,) = restored.moved
        assert kept.read_text() == "a key from before the restore"
        assert (place.data_dir / KEY_FILE).read_text() == (settings.data_dir / KEY_FILE).read_text()
        assert (place.data_dir / KEY_FILE).stat().st_mode & 0o077 == 0


def test_logs_come_back_when_they_were_asked_for(
    bench: Bench, app: App, settings: WorkerSettings, started: Started
) -> None:
    restore(elsewhere(settings), backup_of(settings, Contents(logs=True)))
    there = started(elsewhere(settings))
    assert there.log(1) == bench.log(1)
    assert not log_path(elsewhere(settings, "none").logs_dir, 1).exists()


def test_a_damaged_database_can_be_replaced(
    app: App, bench: Bench, settings: WorkerSettings, started: Started
) -> None:
    backup = backup_of(settings)
    bench.runtime.database.close()
    database = settings.data_dir / "keystone.db"
    database.write_bytes(b"no database at all" * 1000)
    (settings.data_dir / "keystone.db-wal").write_bytes(b"nor its log" * 1000)
    restored = restore(settings, backup, force=True)
    assert restored.moved[0].read_bytes().startswith(b"no database")
    assert not (settings.data_dir / "keystone.db-wal").exists()
    assert sole_app(started(settings)).name == "web"
