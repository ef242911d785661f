"""What is known, as views: complete, newest first, in pages."""

from datetime import timedelta

import pytest

from jobs.errors import NotFoundError
from jobs.reads.apps import app_state, app_url, app_view, app_views, webhook_url
from jobs.reads.deployments import (
    DeploymentFilter,
    deployment_page,
    deployment_view,
    find_deployment,
)
from jobs.reads.paging import LARGEST_PAGE
from jobs.reads.repositories import repository_views
from jobs.settings import Settings
from jobs.states import (
    AppState,
    ContainerState,
    DeploymentState,
    GitHubState,
    StepName,
    Trigger,
)
from jobs.storage.models import App, now
from tests.fakes import Behaviour
from tests.jobs.bench import Bench


@pytest.fixture
def app(bench: Bench) -> App:
    return bench.app()


class TestApps:
    def test_a_live_one_is_told_with_what_serves(self, bench: Bench, app: App) -> None:
        done = bench.deploy(app)
        with bench.reading() as session:
            view = app_view(session, "web", bench.runtime.settings)
        assert (view.state, view.state_reason) == (AppState.RUNNING, "")
        assert (view.live_deployment, view.live_release) == (done.id, 1)
        assert view.live_commit_sha == done.commit_sha
        assert view.url == f"http://127.0.0.1:{app.host_port}"
        assert view.webhook.url == "http://127.0.0.1:8000/webhooks/github"
        assert view.webhook.secret is None
        assert not view.needs_redeploy

    def test_a_warm_release_is_told_until_when(self, bench: Bench) -> None:
        app = bench.app(warm_minutes=5)
        bench.deploy(app)
        with bench.reading() as session:
            view = app_view(session, "web", bench.runtime.settings)
        assert (view.warm_release, view.warm_until) == (None, None)
        bench.deploy(app)
        with bench.reading() as session:
            view = app_view(session, "web", bench.runtime.settings)
        assert (view.live_release, view.warm_release) == (2, 1)
        assert view.warm_until is not None
        assert timedelta(minutes=4) < view.warm_until - now() <= timedelta(minutes=5)

    @pytest.mark.usefixtures("app")
    def test_a_new_one_has_nothing_live(self, bench: Bench) -> None:
        with bench.reading() as session:
            view = app_view(session, "web", bench.runtime.settings)
        assert view.state is AppState.NEW
        assert (view.live_release, view.live_commit_sha, view.live_deployment) == (None,) * 3

    def test_a_configuration_that_is_not_live_yet(self, bench: Bench, app: App) -> None:
        bench.deploy(app)
        with bench.writing() as session:
            session.get_one(App, app.id).configuration += 1
        with bench.reading() as session:
            assert app_view(session, "web", bench.runtime.settings).needs_redeploy

    def test_a_list_tells_each_its_own(self, bench: Bench, app: App) -> None:
        other = bench.app("api", token="ghp_x", repository="octo/api")
        bench.deploy(app)
        bench.ask(other)
        with bench.reading() as session:
            views = app_views(session, bench.runtime.settings)
        assert [(view.name, view.state, view.token_set) for view in views] == [
            ("api", AppState.DEPLOYING, True),
            ("web", AppState.RUNNING, False),
        ]
        assert "ghp_x" not in str(views)

    def test_one_that_is_not_there(self, bench: Bench) -> None:
        with bench.reading() as session, pytest.raises(NotFoundError, match="'none'"):
            app_view(session, "none", bench.runtime.settings)

    def test_a_failed_update_is_told_while_the_old_one_runs(self, bench: Bench, app: App) -> None:
        bench.deploy(app)
        bench.world.engine.behaviour = Behaviour(exits=1)
        bench.run(bench.push(app))
        with bench.reading() as session:
            view = app_view(session, "web", bench.runtime.settings)
        assert view.state is AppState.RUNNING
        assert view.state_reason.startswith("deployment #2 failed: the container exited")


FAILED = "deployment #7 failed: the build failed"


@pytest.mark.parametrize(
    ("live", "container", "failed", "deploying", "state"),
    [
        (None, None, "", False, AppState.NEW),
        (None, None, FAILED, False, AppState.FAILING),
        (None, None, FAILED, True, AppState.DEPLOYING),
        (1, ContainerState.RUNNING, "", False, AppState.RUNNING),
        (1, None, FAILED, False, AppState.RUNNING),
        (1, ContainerState.EXITED, "", False, AppState.STOPPED),
        (1, ContainerState.MISSING, FAILED, False, AppState.STOPPED),
        (1, ContainerState.RESTARTING, "", False, AppState.FAILING),
        (1, ContainerState.EXITED, "", True, AppState.DEPLOYING),
    ],
)
def test_how_an_app_stands(
    *,
    live: int | None,
    container: ContainerState | None,
    failed: str,
    deploying: bool,
    state: AppState,
) -> None:
    app = App(
        name="web", repository_id=1, host_port=1, live_release_id=live, container_state=container
    )
    assert app_state(app, failed, is_deploying=deploying)[0] is state


@pytest.mark.parametrize(
    ("bind", "public", "url"),
    [
        ("127.0.0.1", "", "http://127.0.0.1:20000"),
        ("0.0.0.0", "https://deploy.example.org", "http://deploy.example.org:20000"),
        ("0.0.0.0", "https://deploy.example.org:8443", "http://deploy.example.org:20000"),
        ("::", "http://[2001:db8::1]:8000", "http://[2001:db8::1]:20000"),
        ("::1", "", "http://[::1]:20000"),
    ],
)
def test_the_address_of_an_app(bind: str, public: str, url: str) -> None:
    assert app_url(Settings(app_bind=bind, public_url=public), 20000) == url


def test_the_address_of_the_webhook() -> None:
    settings = Settings(public_url="https://deploy.example.org/")
    assert webhook_url(settings) == "https://deploy.example.org/webhooks/github"


class TestDeployments:
    def test_one_is_told_whole(self, bench: Bench, app: App) -> None:
        done = bench.deploy(app)
        with bench.reading() as session:
            view = deployment_view(session, done.id or 0)
        assert [step.name for step in view.steps] == list(StepName)
        assert (view.app, view.number, view.release) == ("web", 1, 1)
        assert [status.state for status in view.statuses] == [
            GitHubState.PENDING,
            GitHubState.PENDING,
            GitHubState.SUCCESS,
        ]
        assert view.duration_s is not None
        assert 0 < view.duration_s < 60
        assert view.started_at is not None
        assert view.started_at.utcoffset() is not None

    def test_one_that_waits_has_no_duration(self, bench: Bench, app: App) -> None:
        deployment = bench.ask(app)
        with bench.reading() as session:
            assert deployment_view(session, deployment).duration_s is None

    def test_one_that_is_not_there(self, bench: Bench) -> None:
        with bench.reading() as session, pytest.raises(NotFoundError, match="the id 99"):
            find_deployment(session, 99)

    def test_pages_meet_without_gap_or_overlap(self, bench: Bench, app: App) -> None:
        made = [bench.ask(app) for _ in range(7)]
        seen: list[int] = []
        before, pages = None, 0
        while True:
            with bench.reading() as session:
                page = deployment_page(session, DeploymentFilter(limit=3, before=before))
            seen += [view.id for view in page.items]
            pages += 1
            if page.next is None:
                break
            before = page.next
        assert (seen, pages) == (made[::-1], 3)

    def test_the_last_page_may_be_full(self, bench: Bench, app: App) -> None:
        for _ in range(3):
            bench.ask(app)
        with bench.reading() as session:
            assert deployment_page(session, DeploymentFilter(limit=3)).next is None

    def test_filters_narrow(self, bench: Bench, app: App) -> None:
        other = bench.app("api")
        manual = bench.ask(app)
        bench.ask(other)
        bench.cancel(manual)
        push = bench.push(app)
        with bench.reading() as session:

            def found(**wanted: object) -> list[int]:
                page = deployment_page(session, DeploymentFilter(**wanted))  # type: ignore[arg-type]
                return [view.id for view in page.items]

            assert found(app="web") == [push, manual]
            assert found(app="web", trigger=Trigger.PUSH) == [push]
            assert found(app="web", author="ADA") == [push]
            assert found(app="web", text="CHANGE some", state=DeploymentState.QUEUED) == [push]
            assert found(app="web", text="heads/main", trigger=Trigger.PUSH) == [push]
            assert found(app="web", state=DeploymentState.QUEUED, trigger=Trigger.PUSH) == [push]
            assert found(app="web", text="%") == []
            assert found(state=DeploymentState.CANCELLED) == [manual]
            with pytest.raises(NotFoundError):
                found(app="none")

    @pytest.mark.parametrize("limit", [-1, 0])
    def test_a_page_has_at_least_one_and_at_most_a_hundred(
        self, bench: Bench, app: App, limit: int
    ) -> None:
        bench.ask(app)
        with bench.reading() as session:
            assert len(deployment_page(session, DeploymentFilter(limit=limit)).items) == 1
        assert LARGEST_PAGE == 100


def test_repositories_tell_their_apps_and_no_token(bench: Bench, app: App) -> None:
    bench.app("api", token="ghp_x")
    bench.app("other", repository="octo/other")
    with bench.reading() as session:
        views = repository_views(session)
    assert [(view.full_name, view.apps, view.token_set) for view in views] == [
        ("octo/other", ["other"], False),
        ("octo/web", ["api", "web"], True),
    ]
    assert "ghp_x" not in str(views)
