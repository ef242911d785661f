"""What the pages are told of the machine: one row, written again and again."""

from dataclasses import replace
from datetime import timedelta

from redis import Redis
from rq import Queue, Worker
from sqlmodel import select

from jobs.duties.note_health import note_vitals
from jobs.processes.bus import Bus, connect
from jobs.storage.models import Vitals, now
from tests.jobs.bench import Bench


def vitals_of(bench: Bench) -> list[Vitals]:
    with bench.reading() as session:
        return list(session.exec(select(Vitals)).all())


def add_worker(redis: Redis, name: str, *, heard_ago: timedelta = timedelta(0)) -> None:
    worker = Worker([Queue(name, connection=redis)], connection=redis)
    worker.register_birth()  # type: ignore[no-untyped-call]
    redis.hset(worker.key, "last_heartbeat", (now() - heard_ago).strftime("%Y-%m-%dT%H:%M:%S.%fZ"))


def test_health_has_one_row_however_often_it_is_written(bench: Bench) -> None:
    for _ in range(2):
        note_vitals(bench.runtime, bench.world.engine)
    (row,) = vitals_of(bench)
    assert now() - row.at < timedelta(seconds=30)
    assert 0 < row.disk_free <= row.disk_total
    assert row.workers == 0


def test_what_the_watcher_found_wrong_is_kept_and_what_is_well_is_not(bench: Bench) -> None:
    bench.runtime.bus.report_health({"docker": "it does not answer", "router": "ok"})
    note_vitals(bench.runtime, bench.world.engine)
    assert vitals_of(bench)[0].problems == {"docker": "it does not answer"}


def test_workers_count_while_their_heartbeat_is_fresh(bench: Bench, redis: Redis) -> None:
    queue = bench.runtime.queue
    add_worker(redis, queue.name())
    add_worker(redis, queue.name(), heard_ago=timedelta(seconds=90))
    add_worker(redis, "somebody-elses")
    assert queue.workers_alive() == 1


def test_without_redis_nobody_can_work(bench: Bench) -> None:
    lost = Bus(connect("unix:///nowhere/redis.sock"), bench.runtime.identity)
    note_vitals(replace(bench.runtime, bus=lost), bench.world.engine)
    (row,) = vitals_of(bench)
    assert row.workers == 0
    assert "Redis does not answer" in row.problems["redis"]
