"""A Keystone with an app that is live, the backup of it, and other places to restore it to."""

import io
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from jobs.backups.making import Contents, write_backup
from jobs.backups.restoring import Restored, restore_backup
from jobs.processes.runtime import Runtime, open_runtime
from jobs.rules.actors import Actor
from jobs.rules.container_values import Container
from jobs.settings import WorkerSettings
from jobs.states import ActorKind
from jobs.storage.models import App
from tests.fakes import FakeWorld
from tests.jobs.bench import Bench

ADA = Actor(ActorKind.CLI, "ada")


def silent(_what: str, _done: int, _total: int) -> None:
    """Tell nobody how far the work is."""


@pytest.fixture
def settings(tmp_path: Path, redis_url: str) -> WorkerSettings:
    """Settings without a key: it is made in the data directory."""
    return WorkerSettings(data_dir=tmp_path / "data", redis_url=redis_url)


@pytest.fixture
def app(bench: Bench) -> App:
    """Make an app that is live, on a commit that is not the newest of its branch."""
    app = bench.app()
    bench.deploy(app)
    bench.commit("not deployed")
    return bench.fresh(app)


def backup_of(settings: WorkerSettings, contents: Contents | None = None) -> bytes:
    """Make a backup in memory."""
    target = io.BytesIO()
    write_backup(settings, target, contents or Contents(), progress=silent)
    return target.getvalue()


def restore(
    settings: WorkerSettings,
    backup: bytes,
    *,
    containers: list[Container] | None = None,
    force: bool = False,
) -> Restored:
    """Restore a backup where those containers are on the engine."""
    return restore_backup(
        settings,
        io.BytesIO(backup),
        force=force,
        look=lambda _identity: containers or [],
        actor=ADA,
    )


@pytest.fixture
def started(bench: Bench) -> Iterator[Callable[..., Bench]]:
    """Start the Keystone of a data directory, on the same machine or on a new one."""
    with ExitStack() as stack:

        def start(settings: WorkerSettings, world: FakeWorld | None = None) -> Bench:
            runtime: Runtime[WorkerSettings] = open_runtime(settings)
            stack.callback(runtime.database.close)
            if world is None:
                world = FakeWorld(runtime.identity)
                world.source.repositories = bench.world.source.repositories
            return Bench(runtime, world)

        yield start


def elsewhere(settings: WorkerSettings, name: str = "elsewhere") -> WorkerSettings:
    """Give the same settings with another data directory."""
    return settings.model_copy(update={"data_dir": settings.data_dir.with_name(name)})
