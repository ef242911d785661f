"""One deployment at a time per app, and no record by whoever lost the app."""

import os
import subprocess
import sys
import threading
from collections.abc import Callable
from datetime import timedelta

import pytest
from sqlmodel import Session, select

from jobs.deployment.claims import Claim, claim_next
from jobs.deployment.lease import SecondLook, expired, holder_name, is_dead, is_free, is_overdue
from jobs.errors import LeaseLostError
from jobs.records.deployments import (
    HeldLease,
    Live,
    begin,
    end_step,
    finish,
    go_live,
    record_commit,
    start_step,
)
from jobs.records.leases import expire, give_back, let_go, renew, take_over
from jobs.states import DeploymentState, StepName, StepState
from jobs.storage.models import App, Deployment, Lease, now
from jobs.system.watch_times import LEASE, SECOND_LOOK_AFTER_S
from tests.jobs.bench import Bench

THREADS = 8


@pytest.fixture
def app(bench: Bench) -> App:
    return bench.app()


def claim(bench: Bench, app: App, holder: str = "worker:1") -> Claim:
    with bench.writing() as session:
        claim = claim_next(session, app.id or 0, holder)
    assert claim is not None
    return claim


def test_of_many_threads_only_one_gets_the_lease(bench: Bench, app: App) -> None:
    for _ in range(THREADS):
        bench.ask(app)
    start, claims = threading.Barrier(THREADS), list[Claim | None]()

    def compete(number: int) -> None:
        start.wait(timeout=60)
        with bench.writing() as session:
            claims.append(claim_next(session, app.id or 0, f"worker:{number}"))

    threads = [threading.Thread(target=compete, args=(number,)) for number in range(THREADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=60)
    assert len(claims) == THREADS
    assert sum(claim is not None for claim in claims) == 1
    assert len(bench.leases()) == 1


def test_apps_do_not_wait_for_each_other(bench: Bench, app: App) -> None:
    other = bench.app("other")
    bench.ask(app)
    bench.ask(other)
    claim(bench, app)
    claim(bench, other)
    assert {lease.app_id for lease in bench.leases()} == {app.id, other.id}


def test_the_fence_only_grows(bench: Bench, app: App) -> None:
    fences = []
    for _ in range(3):
        bench.ask(app)
        mine = claim(bench, app)
        fences.append(mine.held.fence)
        with bench.writing() as session:
            give_back(session, mine.held)
    assert fences == sorted(set(fences))


RECORDS: dict[str, Callable[[Session, HeldLease], object]] = {
    "begin": begin,
    "commit": lambda s, g: record_commit(s, g, sha="a" * 40, message="", author=""),
    "step started": lambda s, g: start_step(s, g, StepName.BUILD),
    "step ended": lambda s, g: end_step(s, g, StepName.BUILD, StepState.SUCCESS),
    "live": lambda s, g: go_live(s, g, Live(1, "c", "10.201.0.2:8000", "a")),
    "finish": lambda s, g: finish(s, g, DeploymentState.ERROR, "x"),
    "renew": renew,
}


@pytest.mark.parametrize("record", RECORDS.values(), ids=RECORDS.keys())
def test_a_holder_that_lost_the_lease_can_record_nothing(
    bench: Bench, app: App, record: Callable[[Session, HeldLease], object]
) -> None:
    deployment = bench.ask(app)
    mine = claim(bench, app)
    with bench.writing() as session:
        take_over(session, session.get_one(Lease, app.id), "watcher")
    with pytest.raises(LeaseLostError, match=f"the lease of deployment {deployment}"):
        bench_record(bench, mine.held, record)
    with bench.writing() as session:
        session.delete(session.get_one(Lease, app.id))
    with pytest.raises(LeaseLostError):
        bench_record(bench, mine.held, record)
    assert bench.deployment(deployment).state is DeploymentState.QUEUED
    assert bench.fresh(app).live_container_id is None


def bench_record(
    bench: Bench, held: HeldLease, record: Callable[[Session, HeldLease], object]
) -> None:
    with bench.writing() as session:
        record(session, held)


def test_a_holder_that_lost_the_lease_cannot_release_its_successors_lease(
    bench: Bench, app: App
) -> None:
    bench.ask(app)
    mine = claim(bench, app)
    with bench.writing() as session:
        take_over(session, session.get_one(Lease, app.id), "watcher")
    with bench.writing() as session:
        give_back(session, mine.held)
        let_go(session, mine.held)
    assert [(lease.holder, lease.expires_at > now()) for lease in bench.leases()] == [
        ("watcher", True)
    ]


def test_renewing_a_lease_extends_it(bench: Bench, app: App) -> None:
    bench.ask(app)
    mine = claim(bench, app)
    bench.expire_leases()
    with bench.writing() as session:
        assert [lease.app_id for lease in expired(session, SecondLook())] == [app.id]
        renew(session, mine.held)
    with bench.reading() as session:
        assert expired(session, SecondLook()) == []
    (lease,) = bench.leases()
    assert timedelta(0) < lease.expires_at - now() <= LEASE


def test_an_expired_lease_blocks_the_app_until_the_watcher_cleans_up(
    bench: Bench, app: App
) -> None:
    bench.ask(app)
    claim(bench, app)
    bench.expire_leases()
    with bench.reading() as session:
        assert not is_free(session, app.id or 0)


def run_out(bench: Bench) -> None:
    with bench.writing() as session:
        for lease in session.exec(select(Lease)):
            lease.expires_at = now() - timedelta(minutes=2)


def test_a_lease_past_its_end_counts_as_expired_at_the_second_check(
    bench: Bench, app: App, lease_clock: list[float]
) -> None:
    bench.ask(app)
    claim(bench, app)
    run_out(bench)
    second_look, found = SecondLook(), list[int]()
    with bench.writing() as session:
        for passed_s in (0, SECOND_LOOK_AFTER_S - 0.1, 0.2):
            lease_clock[0] += passed_s
            found.append(len(expired(session, second_look)))
    assert found == [0, 0, 1]


def test_a_holder_that_could_not_renew_gets_another_chance(
    bench: Bench, app: App, lease_clock: list[float]
) -> None:
    bench.ask(app)
    mine = claim(bench, app)
    second_look = SecondLook()
    for _ in range(3):  # the database is locked for two minutes, again and again
        run_out(bench)
        with bench.writing() as session:
            assert expired(session, second_look) == []
            renew(session, mine.held)
        lease_clock[0] += SECOND_LOOK_AFTER_S
        with bench.writing() as session:
            assert expired(session, second_look) == []


def test_after_two_missed_renewals_a_holder_is_overdue_at_the_second_check(
    bench: Bench, app: App, monkeypatch: pytest.MonkeyPatch, lease_clock: list[float]
) -> None:
    second_look = SecondLook()
    renew_every_s = 60  # and not 5: in those a busy machine may let the lease expire
    monkeypatch.setattr("jobs.deployment.lease.RENEW_EVERY_S", renew_every_s)
    monkeypatch.setattr("jobs.records.leases.LEASE", timedelta(seconds=4 * renew_every_s))
    bench.ask(app)
    mine = claim(bench, app, "host:7")
    with bench.reading() as session:
        assert not is_overdue(session, "host:7", second_look)
    with bench.writing() as session:
        left = timedelta(seconds=renew_every_s - 0.1)
        session.get_one(Lease, mine.held.app_id).expires_at = now() + left
    with bench.reading() as session:
        assert not is_overdue(session, "host:7", second_look)
        lease_clock[0] += SECOND_LOOK_AFTER_S
        assert is_overdue(session, "host:7", second_look)
        assert not is_overdue(session, "host:77", second_look)
        assert expired(session, SecondLook()) == []


def test_a_dead_holders_leases_expire_at_once_and_nobody_elses(bench: Bench, app: App) -> None:
    other = bench.app("other")
    bench.ask(app)
    bench.ask(other)
    claim(bench, app, "host:7")
    claim(bench, other, "host:77")
    with bench.writing() as session:
        expire(session, "host:7")
    with bench.reading() as session:
        assert [lease.app_id for lease in expired(session, SecondLook())] == [app.id]


def test_a_deployment_without_an_end_is_left_to_the_watcher(bench: Bench, app: App) -> None:
    deployment = bench.ask(app)
    mine = claim(bench, app)
    with bench.writing() as session:
        session.get_one(Deployment, deployment).state = DeploymentState.RUNNING
    with bench.writing() as session:
        let_go(session, mine.held)
    with bench.reading() as session:
        assert [lease.deployment_id for lease in expired(session, SecondLook())] == [deployment]


def test_only_an_ended_process_of_this_keystone_counts_as_dead() -> None:
    with subprocess.Popen([sys.executable, "-c", ""]) as gone:
        assert not is_dead(holder_name(os.getpid()))
    assert is_dead(holder_name(gone.pid))
    assert not is_dead(f"elsewhere:1:{gone.pid}")
    assert not is_dead("worker:1")


def test_a_dead_holders_lease_can_be_taken_before_its_end(bench: Bench, app: App) -> None:
    bench.ask(app)
    with subprocess.Popen([sys.executable, "-c", ""]) as gone:
        claim(bench, app, holder_name(gone.pid))
    with bench.reading() as session:
        assert [lease.app_id for lease in expired(session, SecondLook())] == [app.id]
