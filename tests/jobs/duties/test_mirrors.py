"""The copy of a repository's source goes with the repository, however often it has to be tried."""

from dataclasses import replace
from pathlib import Path

import pytest

from jobs.adapters.git.source import GitSource
from jobs.duties.mirrors import sweep_mirrors
from jobs.records.apps import remove_app
from jobs.rules.repository_values import Remote
from jobs.rules.stopping import StopSignal
from jobs.storage.models import App
from tests.gitserver import GitServer
from tests.jobs.bench import TESTER, Bench

MAIN = "refs/heads/main"


def remove(bench: Bench, app: App) -> None:
    with bench.writing() as session:
        remove_app(session, session.get_one(App, app.id), TESTER)


def test_only_mirrors_of_removed_repositories_are_removed(bench: Bench) -> None:
    web, api = bench.app(), bench.app("api", repository="octo/api")
    bench.world.source.mirrored = {web.repository_id, api.repository_id, 4711}
    sweep_mirrors(bench.runtime, bench.world.tools)
    assert bench.world.source.mirrored == {web.repository_id, api.repository_id}
    remove(bench, web)
    bench.reconcile()
    assert bench.world.source.mirrored == {api.repository_id}


def test_a_mirror_that_is_made_during_the_sweep_stays(bench: Bench) -> None:
    bench.world.source.mirrored = {4711}
    made: list[App] = []

    def make(_about: str) -> None:
        made.append(bench.app())
        bench.world.source.mirrored.add(made[0].repository_id)

    bench.world.source.on("forget", make)
    sweep_mirrors(bench.runtime, bench.world.tools)
    assert bench.world.source.mirrored == {made[0].repository_id}


@pytest.fixture
def served(tmp_path: Path) -> Path:
    return tmp_path / "served"


def test_the_source_code_leaves_the_disk(bench: Bench, served: Path, tmp_path: Path) -> None:
    mirrors = tmp_path / "mirrors"
    source = GitSource(mirrors, allowed_schemes=("http",))
    tools = replace(bench.world.tools, source=source)
    app = bench.app()
    with GitServer(served) as server:
        repo = server.repository("octo/web")
        repo.commit({"secret.txt": "the source code"})
        remote = Remote(app.repository_id, repo.url)
        source.fetch(remote, ref=MAIN, sha=None, stop=StopSignal())
    sweep_mirrors(bench.runtime, tools)
    assert any(mirrors.rglob("*.pack")) or any(mirrors.rglob("objects/??/*"))
    remove(bench, app)
    sweep_mirrors(bench.runtime, tools)
    assert list(mirrors.iterdir()) == []
