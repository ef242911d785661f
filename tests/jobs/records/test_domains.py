"""Domains: claimed by one app, kept in order, given up with it."""

import threading
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
from sqlalchemy import event
from sqlalchemy.exc import IntegrityError
from sqlmodel import select

from jobs.errors import ConfigurationError, ConflictError
from jobs.processes.runtime import Runtime
from jobs.reads.apps import app_view, app_views, find_app
from jobs.reads.domains import domain_targets, domains_by_app
from jobs.records.apps import change_app, remove_app
from jobs.records.domains import domains_of, note_domain_ports
from jobs.rules.app_fields import AppChange
from jobs.rules.mistakes import parse_input
from jobs.settings import WorkerSettings
from jobs.storage.models import App, AuditEvent, Domain
from tests.jobs.bench import TESTER, Bench


def change(bench: Bench, name: str, **fields: object) -> App:
    """Change an app."""
    runtime, wanted = bench.runtime, parse_input(AppChange, fields)
    with bench.writing() as session:
        app = find_app(session, name)
        changed = change_app(
            session, app, wanted, TESTER, settings=runtime.settings, vault=runtime.vault
        )
    return changed.app


def domains(bench: Bench, app: App) -> list[str]:
    with bench.reading() as session:
        return domains_of(session, app)


def last_audit(bench: Bench) -> dict[str, Any]:
    with bench.reading() as session:
        return session.exec(select(AuditEvent)).all()[-1].details


def test_a_new_app_has_its_domains_in_the_order_given(bench: Bench) -> None:
    app = bench.app(domains=["www.example.com", "Example.com", "www.EXAMPLE.com", "bücher.example"])
    assert domains(bench, app) == ["www.example.com", "example.com", "xn--bcher-kva.example"]
    with bench.reading() as session:
        assert domain_targets(session) == dict.fromkeys(domains(bench, app), app.host_port)


def test_domains_are_replaced_as_a_whole_and_the_ones_that_stay_keep_their_age(
    bench: Bench,
) -> None:
    app = bench.app(domains=["a.example", "b.example"])
    with bench.reading() as session:
        before = {row.name: row.created_at for row in session.exec(select(Domain)).all()}
    change(bench, "web", domains=["c.example", "b.example"])
    assert domains(bench, app) == ["c.example", "b.example"]
    with bench.reading() as session:
        after = {row.name: row.created_at for row in session.exec(select(Domain)).all()}
    assert after["b.example"] == before["b.example"] < after["c.example"]
    assert last_audit(bench) == {
        "before": {"domains": ["a.example", "b.example"]},
        "after": {"domains": ["c.example", "b.example"]},
    }


def test_a_change_of_another_field_keeps_the_domains(bench: Bench) -> None:
    app = bench.app(domains=["a.example"])
    change(bench, "web", branch="next")
    assert domains(bench, app) == ["a.example"]


def test_domains_need_no_new_deployment(bench: Bench) -> None:
    app = bench.app()
    bench.deploy(app)
    change(bench, "web", domains=["a.example"])
    with bench.reading() as session:
        assert not app_view(session, "web", bench.runtime.settings).needs_redeploy


@pytest.mark.parametrize("wanted", ["a.example", "A.Example", "a.example."])
def test_a_domain_of_another_app_is_refused_and_nothing_changes(bench: Bench, wanted: str) -> None:
    first, second = (
        bench.app("web", domains=["a.example"]),
        bench.app("shop", domains=["b.example"]),
    )
    with pytest.raises(ConflictError, match=r"^domains: a\.example belongs to web already$"):
        change(bench, "shop", branch="next", domains=["c.example", wanted])
    with pytest.raises(ConflictError, match="belongs to web"):
        bench.app("third", domains=[wanted])
    assert (domains(bench, first), domains(bench, second)) == (["a.example"], ["b.example"])
    with bench.reading() as session:
        assert find_app(session, "shop").branch == "main"
        assert [app.name for app in session.exec(select(App)).all()] == ["web", "shop"]


def test_a_name_in_another_alphabet_is_the_same_domain(bench: Bench) -> None:
    bench.app("web", domains=["bücher.example"])
    with pytest.raises(ConflictError):
        bench.app("shop", domains=["xn--bcher-kva.example"])


def test_the_table_itself_refuses_a_second_owner(bench: Bench) -> None:
    bench.app("web", domains=["a.example"])
    shop = bench.app("shop")
    with pytest.raises(IntegrityError), bench.writing() as session:
        session.add(Domain(app_id=shop.id or 0, name="a.example"))


def test_of_eight_simultaneous_claims_of_a_domain_one_succeeds(bench: Bench) -> None:
    apps = [bench.app(f"app-{number}") for number in range(8)]
    start, outcomes = threading.Barrier(8), list[str]()

    def claim(app: App) -> None:
        start.wait(timeout=60)
        try:
            change(bench, app.name, domains=["a.example", f"{app.name}.example"])
        except ConflictError as exc:
            outcomes.append(str(exc))
        else:
            outcomes.append(app.name)

    threads = [threading.Thread(target=claim, args=(app,)) for app in apps]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=60)
    (winner,) = [outcome for outcome in outcomes if outcome.startswith("app-")]
    told = f"domains: a.example belongs to {winner} already"
    assert sorted(outcomes) == sorted([winner, *[told] * 7])
    held = {app.name: domains(bench, app) for app in apps}
    assert {name for name, names in held.items() if names} == {winner}


def test_domains_go_with_their_app_and_are_free_again(bench: Bench) -> None:
    bench.app("api")  # so that the repository stays, and nothing comes after
    bench.app("web", domains=["a.example"])
    with bench.writing() as session:
        remove_app(session, find_app(session, "web"), TESTER)
    assert last_audit(bench)["before"]["domains"] == ["a.example"]
    assert domains(bench, bench.app("shop", domains=["a.example"])) == ["a.example"]


def test_the_50_that_are_allowed_fit_and_one_more_is_refused(bench: Bench) -> None:
    names = [f"n{number}.example" for number in range(51)]
    app = bench.app(domains=names[:50])
    assert domains(bench, app) == names[:50]
    with pytest.raises(ConfigurationError, match="domains: "):
        change(bench, "web", domains=names)


def test_many_apps_are_described_with_as_many_queries_as_one(
    bench: Bench, runtime: Runtime[WorkerSettings]
) -> None:
    bench.app("first", domains=["first.example"])
    few = statements(runtime)
    for number in range(10):
        bench.app(f"app-{number}", domains=[f"{number}.example", f"www.{number}.example"])
    assert statements(runtime) == few
    with runtime.database.reading() as session:
        (view,) = [v for v in app_views(session, runtime.settings) if v.name == "app-7"]
        assert view.domains == ["7.example", "www.7.example"]
        assert domains_by_app(session, [])[0] == []


def statements(runtime: Runtime[WorkerSettings]) -> int:
    """Count the queries that describe every app."""
    seen: list[str] = []

    def note(_connection: object, _cursor: object, statement: str, *_: object) -> None:
        seen.append(statement)

    engine = runtime.database.reader_engine
    event.listen(engine, "before_cursor_execute", note)
    try:
        with runtime.database.reading() as session:
            app_views(session, runtime.settings)
    finally:
        event.remove(engine, "before_cursor_execute", note)
    return len(seen)


@pytest.mark.parametrize(
    ("ports", "names", "url"),
    [
        ({"http": 80, "https": 443}, ["a.example", "b.example"], "http://a.example"),
        ({"http": 8080}, ["a.example"], "http://a.example:8080"),
        ({"http": 80}, ["*.example.com", "b.example"], "http://b.example"),
        ({"https": 443}, ["a.example"], None),
        ({"http": 80}, ["*.example.com"], None),
        ({"http": 80}, [], None),
        ({}, ["a.example"], None),
    ],
)
def test_the_first_domain_is_the_apps_address_where_domains_are_served(
    bench: Bench, ports: dict[str, int], names: Sequence[str], url: str | None
) -> None:
    app = bench.app(domains=list(names))
    with bench.writing() as session:
        note_domain_ports(session, ports)
    with bench.reading() as session:
        view = app_view(session, app.name, bench.runtime.settings)
    assert view.url == (url or f"http://127.0.0.1:{app.host_port}")
    assert view.domains == names


def test_the_ports_of_an_earlier_start_are_forgotten(bench: Bench) -> None:
    app = bench.app(domains=["a.example"])
    with bench.writing() as session:
        note_domain_ports(session, {"http": 80, "https": 443})
    with bench.writing() as session:
        note_domain_ports(session, {})
    with bench.reading() as session:
        view = app_view(session, app.name, bench.runtime.settings)
    assert view.url == f"http://127.0.0.1:{app.host_port}"


class TestTheDashboardsName:
    """No app may have it: its pages could look like the dashboard, and set cookies for it."""

    @pytest.fixture
    def named(self, bench: Bench) -> Bench:
        settings = bench.runtime.settings.model_copy(
            update={"public_url": "https://Keystone.example.com:8443"}
        )
        return replace(bench, runtime=replace(bench.runtime, settings=settings))

    def test_a_new_app_is_not_given_it(self, named: Bench) -> None:
        for domain in ("keystone.example.com", "KEYSTONE.example.com."):
            with pytest.raises(ConfigurationError, match="is the dashboard's own name"):
                named.app(domains=["a.example", domain])
        assert domains(named, named.app(domains=["*.example.com"])) == ["*.example.com"]

    def test_an_app_is_not_given_it_later(self, named: Bench) -> None:
        named.app(domains=["a.example"])
        with pytest.raises(ConfigurationError, match="KEYSTONE_PUBLIC_URL"):
            change(named, "web", domains=["a.example", "keystone.example.com"])

    def test_who_had_it_before_can_still_change_the_rest(self, bench: Bench, named: Bench) -> None:
        app = bench.app(domains=["keystone.example.com"])
        change(named, "web", domains=["keystone.example.com", "a.example"])
        assert domains(named, app) == ["keystone.example.com", "a.example"]
