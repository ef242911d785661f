"""Installing webhooks: with the repository's own token and newest secret, from whichever door."""

import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from pydantic import SecretStr
from sqlmodel import select

from jobs.duties.answers import do_next_errand
from jobs.duties.install_hook import install_hook
from jobs.errors import ConflictError, GitHubDeniedError, GitHubError, NotFoundError, QueueError
from jobs.processes.bus import ERRANDS
from jobs.reads.secrets import webhook_secrets
from jobs.records.repositories import drop_webhook_secrets, find_repository
from jobs.storage.models import App, AuditEvent
from tests.jobs.bench import TESTER, Bench, wait_for

URL = "http://127.0.0.1:8000/webhooks/github"


@pytest.fixture
def app(bench: Bench) -> App:
    return bench.app(token="ghp_own")


def events(bench: Bench) -> list[AuditEvent]:
    with bench.reading() as session:
        tag = "repository.hook_installed"
        return list(session.exec(select(AuditEvent).where(AuditEvent.tag == tag)).all())


def test_the_webhook_is_made_with_the_repositorys_token_and_secret(bench: Bench, app: App) -> None:
    forge = bench.world.forge
    view = install_hook(bench.runtime, forge, app_id=app.id or 0, by=TESTER)
    assert (view.repository, view.url, view.is_new) == ("octo/web", URL, True)
    (wish,) = forge.wishes
    with bench.reading() as session:
        assert wish.secret == webhook_secrets(session, app.repository_id, bench.runtime.vault)[0]
    assert (wish.url, forge.tokens) == (URL, ["ghp_own"])
    (event,) = events(bench)
    assert (event.actor, event.target) == ("user:ada", f"repository:{app.repository_id}")
    assert event.details == {"url": URL, "hook": view.id, "is_new": True}


def test_installing_again_finds_the_existing_webhook(bench: Bench, app: App) -> None:
    views = [
        install_hook(bench.runtime, bench.world.forge, app_id=app.id or 0, by=TESTER)
        for _ in range(2)
    ]
    assert [view.is_new for view in views] == [True, False]
    assert views[0].id == views[1].id


def test_without_a_token_it_says_how_to_set_one(bench: Bench) -> None:
    app = bench.app()
    with pytest.raises(ConflictError, match="keystone app set web --token-stdin"):
        install_hook(bench.runtime, bench.world.forge, app_id=app.id or 0, by=TESTER)
    assert bench.world.forge.wishes == []


def test_without_a_secret_of_its_own_it_says_how_to_make_one(bench: Bench, app: App) -> None:
    with bench.writing() as session:
        repository = find_repository(session, app.repository_id)
        drop_webhook_secrets(session, repository, TESTER, fallback=SecretStr("the global one"))
    with pytest.raises(ConflictError, match="keystone webhook-secret rotate web"):
        install_hook(bench.runtime, bench.world.forge, app_id=app.id or 0, by=TESTER)
    assert bench.world.forge.wishes == []


def test_what_github_refuses_leaves_no_trace(bench: Bench, app: App) -> None:
    bench.world.forge.hook_errors = [GitHubDeniedError("GitHub wants repository_hooks=write")]
    with pytest.raises(GitHubDeniedError, match="repository_hooks=write"):
        install_hook(bench.runtime, bench.world.forge, app_id=app.id or 0, by=TESTER)
    assert events(bench) == []


def test_an_app_that_is_gone(bench: Bench) -> None:
    with pytest.raises(NotFoundError):
        install_hook(bench.runtime, bench.world.forge, app_id=99, by=TESTER)


# --- As an errand of the web process ---------------------------------------------------------


def ask(bench: Bench, app_id: int | None, *, until: float | None = None) -> dict[str, object]:
    bus = bench.runtime.bus
    with ThreadPoolExecutor(1) as pool:
        asked = pool.submit(
            bus.ask,
            "install_hook",
            line=ERRANDS,
            timeout_s=2 if until else 14,
            app_id=app_id,
            actor=["user", "ada", "10.0.0.1"],
            until=until or time.time() + 60,
        )
        # It waits for an errand for a moment only.
        wait_for(lambda: bus._redis.llen(f"{bus._prefix}-{ERRANDS}"))
        do_next_errand(bench.runtime, bench.world.forge)
        return asked.result()


def test_a_requested_installation_is_answered(bench: Bench, app: App) -> None:
    assert ask(bench, app.id)["is_new"] is True
    (event,) = events(bench)
    assert (event.actor, event.address) == ("user:ada", "10.0.0.1")


def test_a_failed_installation_raises_the_original_error(bench: Bench, app: App) -> None:
    for error in (GitHubError("it is down"), GitHubDeniedError("it is not allowed")):
        bench.world.forge.hook_errors = [error]
        with pytest.raises(type(error), match=str(error)):
            ask(bench, app.id)


def test_a_request_without_a_waiting_client_is_dropped(bench: Bench, app: App) -> None:
    with pytest.raises(QueueError):
        ask(bench, app.id, until=time.time() - 1)
    assert bench.world.forge.wishes == []
