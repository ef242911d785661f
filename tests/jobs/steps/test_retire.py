"""retire: requests end before the old container does, and no rollback loses its image."""

from jobs.reads.releases import outdated_images
from jobs.states import StepName, StepState
from jobs.storage.models import App, Release
from tests.fakes import Behaviour
from tests.jobs.bench import FILES, Bench, push_of


def deploy_another(bench: Bench, *, healthy: bool = True) -> int:
    """Deploy a commit whose image is like no other; what is live by then has stood its trial."""
    bench.prove_releases()
    bench.world.engine.behaviour = Behaviour(exits=None if healthy else 1)
    sha = bench.repository().commit({**FILES, "number": str(bench.pushed)})
    done = bench.run(bench.deliver(push_of(bench, sha)).deployments[0][0].id or 0)
    return done.id or 0


def kept(bench: Bench) -> set[str]:
    return {tag for image in bench.world.engine.images() for tag in image.tags}


def images(bench: Bench, *numbers: int) -> set[str]:
    with bench.reading() as session:
        return {session.get_one(Release, number).image for number in numbers}


def test_a_first_deployment_has_nothing_to_retire(bench: Bench) -> None:
    done = bench.deploy(bench.app())
    assert bench.world.calls("stop", "detach", "in_flight") == []
    assert bench.steps(done.id or 0)[StepName.RETIRE] is StepState.SUCCESS


def test_requests_that_never_end_are_cut_after_the_drain(bench: Bench) -> None:
    app = bench.app(drain_timeout_s=1)
    first = bench.deploy(app)
    bench.world.router.flying[app.host_port, "a"] = 10**6
    second = bench.deploy(app)
    assert "requests did not end within 1 s and are cut" in bench.log(second.id or 0)
    assert bench.running_of(first.id or 0) == []


def test_the_last_releases_keep_their_images(bench: Bench) -> None:
    bench.app(keep_releases=3)
    for _ in range(5):
        deploy_another(bench)
    assert kept(bench) == images(bench, 3, 4, 5)


def test_the_log_names_only_images_that_were_removed(bench: Bench) -> None:
    bench.app(keep_releases=2)
    last = [deploy_another(bench) for _ in range(6)][-1]
    assert bench.log(last).count("removed the image") == 1
    assert len(bench.world.calls("remove_image")) == 4


def test_failed_releases_do_not_displace_good_ones(bench: Bench) -> None:
    bench.app(keep_releases=2)
    deploy_another(bench)
    deploy_another(bench)
    for _ in range(4):
        deploy_another(bench, healthy=False)
    assert images(bench, 1, 2) <= kept(bench)
    deploy_another(bench)
    assert kept(bench) == images(bench, 2, 7)


def test_the_live_release_keeps_its_image_however_old_it_is(bench: Bench) -> None:
    app = bench.app(keep_releases=1)
    deploy_another(bench)
    deploy_another(bench)
    with bench.writing() as session:
        session.get_one(App, app.id).live_release_id = 1
        assert outdated_images(session, app.id or 0) == []


def test_an_image_that_several_releases_share_stays_for_the_newest(bench: Bench) -> None:
    app = bench.app(keep_releases=1)
    done = bench.deploy(app)
    bench.run(bench.ask(app, sha=done.commit_sha))
    assert kept(bench) == images(bench, 2) == images(bench, 1)
