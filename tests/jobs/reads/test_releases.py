"""Which releases can be gone back to, and which images nothing needs any more."""

import pytest
from sqlmodel import select

from jobs.reads.releases import outdated_images, release_views, releases_that_were_live
from jobs.reads.views import ReleaseView
from jobs.records.rollbacks import roll_back
from jobs.states import DeploymentState
from jobs.storage.models import App, Deployment, Release
from tests.builders import change_settings
from tests.fakes import Behaviour
from tests.jobs.bench import FILES, TESTER, Bench, push_of


@pytest.fixture
def app(bench: Bench) -> App:
    return bench.app(keep_releases=3)


def release(bench: Bench, *, works: bool = True, message: str = "Change something") -> Deployment:
    """Deploy a commit that no other deployment has; what is live by then has stood its trial."""
    bench.prove_releases()
    bench.world.engine.behaviour = Behaviour(exits=None if works else 1)
    files = {**FILES, "number": str(bench.pushed)}
    sha = bench.repository().commit(files, message=message)
    ((queued, _),) = bench.deliver(push_of(bench, sha, message=message)).deployments
    done = bench.run(queued.id or 0)
    assert (done.state is DeploymentState.SUCCESS) is works, done.reason
    return done


def go_back(bench: Bench, app: App, number: int) -> None:
    with bench.writing() as session:
        asked = roll_back(session, session.get_one(App, app.id), number, TESTER).id or 0
    assert bench.run(asked).state is DeploymentState.SUCCESS


def views(bench: Bench, app: App, *, limit: int = 20) -> list[ReleaseView]:
    with bench.reading() as session:
        return release_views(session, session.get_one(App, app.id), limit=limit)


def kept(bench: Bench, app: App) -> list[int]:
    return [view.number for view in views(bench, app) if view.is_restorable]


def outdated(bench: Bench, app: App) -> list[str]:
    with bench.reading() as session:
        return outdated_images(session, app.id or 0)


def image_of(bench: Bench, done: Deployment) -> str:
    with bench.reading() as session:
        return session.get_one(Release, done.release_id).image


def tags(bench: Bench) -> set[str]:
    return {tag for image in bench.world.engine.images() for tag in image.tags}


class TestListing:
    def test_the_newest_comes_first_with_what_it_is(self, bench: Bench, app: App) -> None:
        first = release(bench, message="Say one")
        second = release(bench, message="Say two")
        newer, older = views(bench, app)
        assert (newer.number, newer.is_live, newer.is_restorable) == (2, True, False)
        assert (older.number, older.is_live, older.is_restorable) == (1, False, True)
        assert (older.commit_message, older.deployment) == ("Say one", first.id)
        assert (older.commit_sha, newer.commit_sha) == (first.commit_sha, second.commit_sha)

    def test_one_that_was_never_live_is_not_there(self, bench: Bench, app: App) -> None:
        release(bench)
        release(bench, works=False)
        release(bench)
        assert [view.number for view in views(bench, app)] == [3, 1]

    def test_an_app_that_was_never_live_has_none(self, bench: Bench, app: App) -> None:
        release(bench, works=False)
        assert views(bench, app) == []
        assert outdated(bench, app) == [image_of_number(bench, app, 1)]

    def test_the_list_is_bounded(self, bench: Bench, app: App) -> None:
        for _ in range(3):
            release(bench)
        assert [view.number for view in views(bench, app, limit=2)] == [3, 2]
        with bench.reading() as session:
            assert len(releases_that_were_live(session, app, limit=2)) == 2

    @pytest.mark.usefixtures("app")
    def test_another_apps_releases_are_not_in_it(self, bench: Bench) -> None:
        other = bench.app("api", repository="octo/api")
        release(bench)
        assert views(bench, other) == []
        assert outdated(bench, other) == []


class TestKeeping:
    def test_the_last_few_that_were_live_can_be_gone_back_to(self, bench: Bench, app: App) -> None:
        for _ in range(5):
            release(bench)
        assert kept(bench, app) == [4, 3]

    def test_the_others_images_are_gone(self, bench: Bench, app: App) -> None:
        images = [image_of(bench, release(bench)) for _ in range(5)]
        assert tags(bench) == set(images[2:])
        assert outdated(bench, app) == sorted(images[:2])

    def test_a_failed_release_pushes_no_good_one_out(self, bench: Bench, app: App) -> None:
        good = [image_of(bench, release(bench)) for _ in range(3)]
        bad = [image_of(bench, release(bench, works=False)) for _ in range(3)]
        last = image_of(bench, release(bench))
        assert kept(bench, app) == [3, 2]
        assert tags(bench) == {*good[1:], last}
        assert set(bad).isdisjoint(tags(bench))

    def test_after_a_rollback_the_live_one_is_kept_besides_the_last(
        self, bench: Bench, app: App
    ) -> None:
        images = [image_of(bench, release(bench)) for _ in range(3)]
        go_back(bench, app, 1)
        with bench.writing() as session:
            change_settings(session.get_one(App, app.id), keep_releases=2)
        assert kept(bench, app) == [3, 2]
        assert outdated(bench, app) == []
        go_back(bench, app, 3)
        bench.pass_trial(app)
        assert tags(bench) == set(images[1:])

    def test_a_release_that_shares_its_image_with_a_kept_one_costs_nothing(
        self, bench: Bench, app: App
    ) -> None:
        done = release(bench)
        image = image_of(bench, done)
        for _ in range(4):
            again = bench.run(bench.ask(app, sha=done.commit_sha))
            assert again.state is DeploymentState.SUCCESS
        assert outdated(bench, app) == []
        assert tags(bench) == {image}

    def test_keeping_one_keeps_the_live_one(self, bench: Bench) -> None:
        app = bench.app("api", keep_releases=1)
        sha = bench.repository().commit(FILES)
        ((queued, _),) = bench.deliver(push_of(bench, sha)).deployments
        done = bench.run(queued.id or 0)
        assert kept(bench, app) == []
        assert tags(bench) == {image_of(bench, done)}


def image_of_number(bench: Bench, app: App, number: int) -> str:
    with bench.reading() as session:
        rows = session.exec(select(Release).where(Release.app_id == app.id)).all()
    return next(row.image for row in rows if row.number == number)
