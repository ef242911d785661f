"""release: a number of its own, and a copy of the configuration of that moment."""

from sqlmodel import col, select

from jobs.storage.models import App, Release
from tests.builders import change_settings
from tests.fakes import Behaviour
from tests.jobs.bench import Bench


def releases(bench: Bench) -> list[Release]:
    with bench.reading() as session:
        return list(session.exec(select(Release).order_by(col(Release.id))).all())


def test_numbers_count_per_app(bench: Bench) -> None:
    web, api = bench.app(), bench.app("api", repository="octo/web", branch="api")
    bench.deploy(web)
    bench.repository().refs["refs/heads/api"] = bench.repository().refs["refs/heads/main"]
    bench.run(bench.ask(api, ref="refs/heads/api"))
    bench.deploy(web)
    assert [(row.app_id, row.number) for row in releases(bench)] == [
        (web.id, 1),
        (api.id, 1),
        (web.id, 2),
    ]


def test_a_later_change_of_the_app_changes_no_release(bench: Bench) -> None:
    app = bench.app(memory_mb=64, command=["/web", "--x"])
    bench.deploy(app)
    with bench.writing() as session:
        row = session.get_one(App, app.id)
        change_settings(row, memory_mb=99, command=None)
        row.configuration = 2
    bench.deploy(app)
    first, second = releases(bench)
    assert (first.container.memory_mb, first.configuration) == (64, 1)
    assert first.container.command == ("/web", "--x")
    assert (second.container.memory_mb, second.configuration) == (99, 2)


def test_a_release_that_never_became_healthy_keeps_its_number(bench: Bench) -> None:
    app = bench.app()
    bench.world.engine.behaviour = Behaviour(exits=1)
    failed = bench.run(bench.push(app))
    bench.world.engine.behaviour = Behaviour()
    done = bench.deploy(app)
    assert [row.deployment_id for row in releases(bench)] == [failed.id, done.id]
    assert bench.fresh(app).live_release_id == done.release_id


def test_the_environment_is_kept_sealed(bench: Bench) -> None:
    bench.deploy(bench.app())
    assert b"KEYSTONE" not in releases(bench)[0].environment
