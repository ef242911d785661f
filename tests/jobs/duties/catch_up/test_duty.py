"""Whose turn it is: one repository after the other, by one process, at start and then at a pace."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta

import pytest
from sqlmodel import select

from jobs.duties.catch_up.duty import CatchingUp
from jobs.reads.repositories import repository_views
from jobs.records.apps import remove_app
from jobs.records.catch_up import end_turn, take_turn
from jobs.rules.missed_pushes import Finding
from jobs.storage.models import App, CatchUp, Repository, RepositorySecret, now
from tests.jobs.bench import TESTER, Bench
from tests.jobs.duties.catch_up.scene import Scene

TEN = timedelta(minutes=10)


def rows(bench: Bench) -> list[CatchUp]:
    with bench.reading() as session:
        return list(session.exec(select(CatchUp).order_by("repository_id")).all())


def test_each_repository_has_its_turn_and_then_a_rest(bench: Bench, scene: Scene) -> None:
    bench.app("web", repository="octo/web")
    bench.app("api", repository="octo/api")
    assert [scene.duty(), scene.duty(), scene.duty()] == [True, True, False]
    for row in rows(bench):
        assert row.next_look_at is not None
        assert TEN - timedelta(minutes=1) < row.next_look_at - now() <= TEN


def test_a_start_begins_with_all_of_them_anew(bench: Bench, scene: Scene) -> None:
    bench.app()
    assert [scene.duty(), scene.duty()] == [True, False]
    assert CatchingUp(scene.means)()


def test_github_is_not_asked_while_catch_up_is_off(bench: Bench, scene: Scene) -> None:
    bench.app()
    settings = bench.runtime.settings.model_copy(update={"catch_up_minutes": 0})
    off = replace(scene.means, runtime=replace(bench.runtime, settings=settings))
    assert not CatchingUp(off)()
    assert rows(bench) == []


def test_a_repository_without_an_app_is_not_checked(bench: Bench, scene: Scene) -> None:
    app = bench.app()
    with bench.writing() as session:
        session.delete(session.get_one(App, app.id))
    assert not scene.duty()


def test_after_trouble_the_next_turn_comes_sooner(bench: Bench, scene: Scene) -> None:
    bench.app()
    bench.world.source.down = True
    scene.duty()
    (row,) = rows(bench)
    assert row.next_look_at is not None
    assert row.next_look_at - now() <= timedelta(minutes=1)


def test_two_processes_make_one_deployment(bench: Bench, scene: Scene, web: App) -> None:
    scene.hooked()
    scene.miss("guid-a", bench.commit())
    twin = CatchingUp(scene.means)
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(lambda duty: duty(), [scene.duty, twin]))
    assert len(scene.caught_up(web)) == 1


@pytest.mark.parametrize("way", ["deliveries", "branch_head"])
def test_two_looks_at_the_same_time_make_one_deployment(
    bench: Bench, scene: Scene, web: App, way: str
) -> None:
    if way == "deliveries":
        scene.hooked()
    else:
        bench.deploy(web)
    scene.miss("guid-a", bench.commit())
    # The second look happens in the middle of the first.
    call = "payload" if way == "deliveries" else "commit"
    inner: list[bool] = []

    def look_too(_about: str) -> None:
        if not inner:
            inner.append(False)
            scene.look()

    world = bench.world
    (world.forge if way == "deliveries" else world.source).on(call, look_too)
    scene.look()
    assert len(scene.caught_up(web)) == 1


def test_a_turn_is_taken_once(bench: Bench) -> None:
    bench.app()
    with bench.writing() as session:
        assert take_turn(session, every=TEN) is not None
    with bench.writing() as session:
        assert take_turn(session, every=TEN) is None


def test_what_was_found_of_a_removed_repository_is_let_go(bench: Bench) -> None:
    app = bench.app()
    with bench.writing() as session:
        turn = take_turn(session, every=TEN)
    assert turn is not None
    with bench.writing() as session:
        for secret in session.exec(select(RepositorySecret)).all():
            session.delete(secret)
        session.delete(session.get_one(App, app.id))
        session.flush()
        session.delete(session.get_one(Repository, app.repository_id))
    with bench.writing() as session:
        end_turn(session, turn, Finding(None, 0))
    assert rows(bench) == []


@pytest.mark.parametrize("call", ["head", "payload"])
def test_a_repository_that_is_removed_in_the_middle_breaks_nothing(
    bench: Bench, scene: Scene, web: App, caplog: pytest.LogCaptureFixture, call: str
) -> None:
    def remove(_about: str) -> None:
        with bench.writing() as session:
            if (app := session.get(App, web.id)) is not None:
                remove_app(session, app, TESTER)

    world = bench.world
    if call == "payload":
        scene.hooked()
    scene.miss("guid-a", bench.commit())
    (world.forge if call == "payload" else world.source).on(call, remove)
    assert scene.duty()
    assert rows(bench) == []
    assert "Traceback" not in caplog.text


def test_a_token_that_cannot_be_opened_is_told(bench: Bench, scene: Scene, web: App) -> None:
    with bench.writing() as session:
        for secret in session.exec(select(RepositorySecret)).all():
            secret.sealed = b"gAAAA-not-sealed-by-us"
    assert scene.look().problem
    assert scene.caught_up(web) == []


def test_repositories_tell_how_the_search_stands(bench: Bench, scene: Scene, web: App) -> None:
    with bench.reading() as session:
        (before,) = repository_views(session)
    assert (before.catch_up.way, before.catch_up.looked_at) == (None, None)
    scene.hooked()
    scene.duty()
    with bench.reading() as session:
        (after,) = repository_views(session)
    assert after.full_name == "octo/web"
    assert after.catch_up.way == "deliveries"
    assert after.catch_up.found == "nothing was missed"
    assert after.catch_up.next_look_at is not None


def test_the_token_goes_to_github_and_shows_nowhere(
    bench: Bench, scene: Scene, web: App, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("DEBUG")
    scene.hooked()
    scene.miss("guid-a", bench.commit())
    scene.duty()
    assert set(bench.world.forge.tokens) == {"ghp_own"}
    assert "ghp_own" not in caplog.text
    assert "#1 of web is queued" in caplog.text
