"""release: a number of its own, and a copy of the configuration of that moment."""

import pytest
from sqlmodel import col, select

from jobs.records.rollbacks import roll_back
from jobs.states import DeploymentState, Health
from jobs.steps.release import chosen_port
from jobs.storage.models import App, Deployment, Release
from tests.builders import change_settings
from tests.fakes import Behaviour
from tests.jobs.bench import FILES, TESTER, Bench


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


def deploy_exposing(bench: Bench, app: App, *ports: str) -> Deployment:
    exposed = "".join(f"EXPOSE {port}\n" for port in ports)
    sha = bench.repository().commit({**FILES, "Dockerfile": f"FROM scratch\n{exposed}"})
    return bench.run(bench.ask(app, sha=sha))


@pytest.mark.parametrize(
    ("exposed", "port"),
    [([], 8000), ([3000], 3000), ([80, 8000, 9000], 8000), ([80, 443], None)],
)
def test_the_port_is_the_only_one_that_the_image_exposes(
    exposed: list[int], port: int | None
) -> None:
    assert chosen_port(exposed) == port


def test_an_app_without_a_port_gets_the_one_that_its_image_exposes(bench: Bench) -> None:
    app = bench.app()
    done = deploy_exposing(bench, app, "3000", "53/udp")
    assert done.state is DeploymentState.SUCCESS
    assert "the container's port is 3000: the image EXPOSEs it" in bench.log(done.id or 0)
    (release,) = releases(bench)
    assert release.container.container_port == 3000
    assert (bench.fresh(app).live_address or "").endswith(":3000")
    assert bench.fresh(app).container.container_port is None


def test_the_apps_own_port_counts_more_than_the_images(bench: Bench) -> None:
    deploy_exposing(bench, bench.app(container_port=9000), "80", "443")
    assert releases(bench)[0].container.container_port == 9000


def test_several_exposed_ports_are_a_question_for_the_owner(bench: Bench) -> None:
    done = deploy_exposing(bench, bench.app(), "9090 443", *"12345")
    assert done.state is DeploymentState.FAILURE
    assert done.reason == (
        "the image EXPOSEs the ports 1, 2, 3, 4, 5, …; choose the one that serves: "
        "`keystone app set web --container-port 1`"
    )
    assert releases(bench) == []


def test_an_app_without_a_health_check_needs_no_port(bench: Bench) -> None:
    done = deploy_exposing(bench, bench.app(health=Health.NONE), "80", "443")
    assert done.state is DeploymentState.SUCCESS
    assert releases(bench)[0].container.container_port == 8000


def test_a_rollback_keeps_the_port_of_its_release(bench: Bench) -> None:
    app = bench.app()
    deploy_exposing(bench, app, "3000")
    deploy_exposing(bench, app, "4000")
    bench.prove_releases()
    with bench.writing() as session:
        back = roll_back(session, session.get_one(App, app.id), None, TESTER).id or 0
    assert bench.run(back).state is DeploymentState.SUCCESS
    assert (bench.fresh(app).live_address or "").endswith(":3000")
