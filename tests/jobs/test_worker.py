"""The worker on a real Redis, with real processes: what it runs, and what it refuses to run."""

import json
import os
import signal
import socket
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from redis import Redis
from rq import Queue
from rq.job import Job, JobStatus
from rq.webhook import Webhook
from sqlmodel import select

from jobs.deployment.claims import claim_next
from jobs.deployment.lease import SecondLook, expired, holder_name
from jobs.processes.queue import TASK, WorkQueue
from jobs.processes.runtime import Runtime
from jobs.records.leases import give_back
from jobs.settings import WorkerSettings
from jobs.states import Lane
from jobs.storage.models import Lease, now
from jobs.system.proc import is_stopped
from jobs.system.watch_times import SECOND_LOOK_AFTER_S
from jobs.worker import NICENESS, DeploymentJob, DeploymentWorker, is_needless, tell_watcher
from tests.jobs.bench import Bench, wait_for

# The real worker, but what it runs writes its process id into a file and stays there, for some
# seconds or until there is another file: what a deployment does is told in other tests, and needs
# no engine here.
WORKER = """
import os, sys, time
from datetime import timedelta
from pathlib import Path
import jobs.deployment.lease, jobs.records.leases, jobs.worker
from jobs import tasks
from jobs.deployment.claims import claim_next
from jobs.deployment.lease import holder_name
from jobs.storage.models.deployments import Deployment
from jobs.processes.runtime import open_runtime
from jobs.settings import WorkerSettings
from jobs.processes.configuration import read_settings
from jobs.worker import run_worker

def deploy(deployment_id):
    runtime = open_runtime(read_settings(WorkerSettings, os.environ))
    with runtime.database.writing() as session:
        app_id = session.get_one(Deployment, deployment_id).app_id
        claim_next(session, app_id, holder_name(os.getpid()))
    draft = Path(sys.argv[1] + ".draft")
    draft.write_text(str(os.getpid()))
    draft.rename(sys.argv[1])
    end, told_to_end = time.monotonic() + float(sys.argv[2]), Path(sys.argv[1] + ".end")
    while time.monotonic() < end and not told_to_end.exists():
        time.sleep(0.02)

tasks.deploy = deploy
jobs.records.leases.LEASE = timedelta(minutes=2)  # nobody renews it
jobs.worker.HEARTBEAT_EVERY_S = 1
is_quick = sys.argv[3:] == ["quick"]
run_worker(open_runtime(read_settings(WorkerSettings, os.environ)), is_quick=is_quick)
"""


# This one goes on until it hears that its worker is to stop.
HANDS_OVER = """
import os, sys
from pathlib import Path
import jobs.worker
from jobs import tasks
from jobs.processes.runtime import open_runtime
from jobs.settings import WorkerSettings
from jobs.processes.configuration import read_settings
from jobs.worker import run_worker

def deploy(deployment_id):
    draft = Path(sys.argv[1] + ".draft")
    draft.write_text(str(os.getpid()))
    draft.rename(sys.argv[1])
    assert tasks.leaving.wait(60)

tasks.deploy = deploy
jobs.worker.HEARTBEAT_EVERY_S = 1
jobs.worker.HAND_OVER_AFTER_S = float(sys.argv[2])
run_worker(open_runtime(read_settings(WorkerSettings, os.environ)))
"""


# This one is stopped, as by a freezer, while nobody but it can write; a lease is overdue in 5 s. It
# tells its number first: on a busy machine that may be over before it comes to stop itself.
STOPS_IN_A_TRANSACTION = """
import os, signal, sys
from datetime import timedelta
from pathlib import Path
import jobs.deployment.lease, jobs.records.leases, jobs.worker
from jobs import tasks
from jobs.deployment.claims import claim_next
from jobs.deployment.lease import holder_name
from jobs.storage.models.deployments import Deployment
from jobs.processes.runtime import open_runtime
from jobs.settings import WorkerSettings
from jobs.processes.configuration import read_settings
from jobs.worker import run_worker

def deploy(deployment_id):
    draft = Path(sys.argv[1] + ".draft")
    draft.write_text(str(os.getpid()))
    draft.rename(sys.argv[1])
    runtime = open_runtime(read_settings(WorkerSettings, os.environ))
    with runtime.database.writing() as session:
        app_id = session.get_one(Deployment, deployment_id).app_id
        claim_next(session, app_id, holder_name(os.getpid()))
    with runtime.database.writing() as session:
        session.get_one(Deployment, deployment_id).reason = "in the middle"
        session.flush()
        os.kill(os.getpid(), signal.SIGSTOP)

tasks.deploy = deploy
jobs.records.leases.LEASE = timedelta(seconds=jobs.deployment.lease.RENEW_EVERY_S + 5)
jobs.worker.HEARTBEAT_EVERY_S = 1
run_worker(open_runtime(read_settings(WorkerSettings, os.environ)))
"""


WAKES_ITSELF = """
import os, sys
from pathlib import Path
from jobs import tasks
from jobs.processes.runtime import open_runtime
from jobs.settings import WorkerSettings
from jobs.processes.configuration import read_settings
from jobs.worker import run_worker

def deploy(deployment_id):
    file = Path(sys.argv[1])
    with file.open("a") as log:
        log.write(f"{deployment_id} ")
    if len(file.read_text().split()) < 3:
        open_runtime(read_settings(WorkerSettings, os.environ)).queue.wake([deployment_id])

tasks.deploy = deploy
run_worker(open_runtime(read_settings(WorkerSettings, os.environ)))
"""


@contextmanager
def worker(
    runtime: Runtime[WorkerSettings],
    file: Path,
    *words: str,
    seconds: float = 60,
    program: str = WORKER,
) -> Iterator[subprocess.Popen[bytes]]:
    """Run a worker whose deployments take that long, or until they are told to end."""
    environment = {
        **os.environ,
        "KEYSTONE_DATA_DIR": str(runtime.settings.data_dir),
        "KEYSTONE_REDIS_URL": runtime.settings.redis_url,
        "KEYSTONE_SECRET_KEY": runtime.settings.secret_key.get_secret_value(),
    }
    command = [sys.executable, "-c", program, str(file), str(seconds), *words]
    with subprocess.Popen(command, env=environment) as process:
        try:
            yield process
        finally:
            process.kill()


def is_alive(pid: int) -> bool:
    """Whether a process runs; one that nobody has buried yet does not."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"


def children_of(pid: int) -> list[int]:
    """Give the children of a process, all of which its main thread has forked."""
    return [int(each) for each in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "pid"


def tell_to_end(file: Path) -> None:
    file.with_name(f"{file.name}.end").touch()


def begun(file: Path) -> int:
    wait_for(file.exists)
    return int(file.read_text())


class TestWhatItRuns:
    def test_a_wake_up_is_run_in_a_child_of_its_own(self, bench: Bench, file: Path) -> None:
        bench.runtime.queue.wake([bench.ask(bench.app())])
        with worker(bench.runtime, file) as process:
            child = begun(file)
            assert child != process.pid
            assert Path(f"/proc/{child}/stat").read_text().rpartition(")")[2].split()[1] == str(
                process.pid
            )

    def test_what_serves_comes_before_it(self, bench: Bench, file: Path) -> None:
        bench.runtime.queue.wake([bench.ask(bench.app())])
        with worker(bench.runtime, file):
            nicer = os.getpriority(os.PRIO_PROCESS, begun(file))
        assert nicer == os.getpriority(os.PRIO_PROCESS, 0) + NICENESS

    def test_the_child_dies_with_its_worker(self, bench: Bench, file: Path) -> None:
        bench.runtime.queue.wake([bench.ask(bench.app())])
        with worker(bench.runtime, file) as process:
            child = begun(file)
            process.kill()
            wait_for(lambda: not is_alive(child))

    def test_a_killed_childs_lease_expires_at_once(self, bench: Bench, file: Path) -> None:
        bench.runtime.queue.wake([bench.ask(bench.app())])
        with worker(bench.runtime, file):
            child = begun(file)
            with bench.reading() as session:
                assert expired(session, SecondLook()) == []
            os.kill(child, signal.SIGKILL)
            wait_for(lambda: _has_expired(bench))

    def test_a_child_that_was_stopped_is_killed_and_its_lock_with_it(
        self, bench: Bench, file: Path
    ) -> None:
        bench.runtime.queue.wake([bench.ask(bench.app())])
        with worker(bench.runtime, file, program=STOPS_IN_A_TRANSACTION):
            child = begun(file)
            wait_for(lambda: not is_alive(child))
            wait_for(lambda: _has_expired(bench))

    def test_a_child_that_was_stopped_before_its_work_began_does_not_keep_the_next_waiting(
        self, bench: Bench, file: Path
    ) -> None:
        deployment = bench.ask(bench.app())
        with worker(bench.runtime, file) as process:
            wait_for(lambda: children_of(process.pid))
            (waiting,) = children_of(process.pid)
            os.kill(waiting, signal.SIGSTOP)
            bench.runtime.queue.wake([deployment])
            wait_for(lambda: not is_alive(waiting))
            # As the reconciler does.
            bench.runtime.queue.wake([deployment])
            assert begun(file) != waiting

    def test_sigterm_lets_the_running_one_end_and_takes_no_other(
        self, bench: Bench, file: Path
    ) -> None:
        first, second = bench.ask(bench.app()), bench.ask(bench.app("other"))
        bench.runtime.queue.wake([first])
        with worker(bench.runtime, file) as process:
            child = begun(file)
            bench.runtime.queue.wake([second])
            process.terminate()
            tell_to_end(file)
            assert process.wait(timeout=60) == 0
            assert not is_alive(child)
        assert bench.runtime.queue.waiting() == {second}

    def test_sigterm_does_not_wait_long_for_one_that_lasts(self, bench: Bench, file: Path) -> None:
        bench.runtime.queue.wake([bench.ask(bench.app())])
        with worker(bench.runtime, file, seconds=0.5, program=HANDS_OVER) as process:
            child = begun(file)
            process.terminate()
            assert process.wait(timeout=60) == 0
            assert not is_alive(child)


def test_a_redis_that_dies_ends_neither_what_runs_nor_its_orderly_end(
    bench: Bench, file: Path
) -> None:
    folder = file.parent
    command = ["redis-server", "--port", "0", "--unixsocket", str(folder / "own.sock")]
    with subprocess.Popen([*command, "--save", "", "--dir", str(folder)]) as own:
        url = f"unix://{folder / 'own.sock'}"
        runtime = replace(
            bench.runtime, settings=bench.runtime.settings.model_copy(update={"redis_url": url})
        )
        wait_for((folder / "own.sock").exists)
        deployment = bench.ask(bench.app())
        with Redis.from_url(url) as redis:
            wait_for(lambda: WorkQueue(redis, bench.runtime.identity).wake([deployment]))
        with worker(runtime, file) as process:
            child = begun(file)
            own.kill()
            # Longer than between two looks of the worker at its child.
            time.sleep(2.5)
            process.terminate()
            time.sleep(0.5)
            assert is_alive(child)
            tell_to_end(file)
            process.wait(timeout=60)
            assert not is_alive(child)


def test_one_that_works_is_found_again_in_a_redis_that_was_emptied(
    bench: Bench, redis: Redis, file: Path
) -> None:
    queue = bench.runtime.queue
    queue.wake([bench.ask(bench.app())])
    before = now()
    with worker(bench.runtime, file) as process:
        begun(file)
        assert queue.workers_alive() == 1
        assert queue.workers_alive(born_since=before) == 1
        assert queue.workers_alive(born_since=now()) == 0
        # It may tell that it is there at any moment: not in this one.
        process.send_signal(signal.SIGSTOP)
        wait_for(lambda: is_stopped(process.pid))
        redis.flushall()
        assert queue.workers_alive() == 0
        process.send_signal(signal.SIGCONT)
        wait_for(lambda: queue.workers_alive() == 1)


class TestLanes:
    """`quick` begins while every other worker builds, and builds are not for its own worker."""

    def test_what_needs_no_build_does_not_wait_for_builds(
        self, bench: Bench, file: Path, tmp_path: Path
    ) -> None:
        build, other, back = (bench.ask(bench.app(name)) for name in ("one", "two", "three"))
        queue, quick = bench.runtime.queue, tmp_path / "quick"
        queue.wake([build, other])
        with worker(bench.runtime, file), worker(bench.runtime, quick, "quick"):
            building = begun(file)
            queue.wake([back], Lane.QUICK)
            begun(quick)
            assert is_alive(building)
            assert queue.waiting() == {other}

    def test_every_worker_takes_it_and_before_builds(self, bench: Bench, file: Path) -> None:
        build, back = (bench.ask(bench.app(name)) for name in ("one", "two"))
        queue = bench.runtime.queue
        queue.wake([build])
        queue.wake([back], Lane.QUICK)
        with worker(bench.runtime, file):
            begun(file)
            assert queue.waiting() == {build}

    def test_a_wake_up_that_dies_with_its_worker_is_repeated(
        self, bench: Bench, file: Path
    ) -> None:
        back = bench.ask(bench.app())
        bench.runtime.queue.wake([back], Lane.QUICK)
        with worker(bench.runtime, file, "quick") as process:
            child = begun(file)
            process.kill()
            wait_for(lambda: not is_alive(child))
        with bench.reading() as session:
            assert [lease.deployment_id for lease in expired(session, SecondLook())] == [back]


class TestNeedlessWakeUps:
    def job(self, redis: Redis, *arguments: object) -> Job:
        return DeploymentJob.create(TASK, args=arguments, connection=redis, serializer="json")

    def test_one_is_needless_when_nothing_is_queued_or_somebody_is_at_it(
        self, bench: Bench, redis: Redis
    ) -> None:
        app = bench.app()
        deployment = bench.ask(app)
        job = self.job(redis, deployment)
        assert not is_needless(bench.runtime, job)
        with bench.writing() as session:
            claim = claim_next(session, app.id or 0, "worker:1")
        bench.ask(app)
        assert is_needless(bench.runtime, job)
        assert claim is not None
        with bench.writing() as session:
            give_back(session, claim.held)
        assert not is_needless(bench.runtime, job)

    def test_one_for_nobody_is_needless(self, bench: Bench, redis: Redis) -> None:
        assert is_needless(bench.runtime, self.job(redis, 99))

    @pytest.mark.parametrize("arguments", [(), ("one",), (1, 2), (10**30,)], ids=str)
    def test_nonsense_is_left_to_the_child(
        self, bench: Bench, redis: Redis, arguments: tuple[object, ...]
    ) -> None:
        assert not is_needless(bench.runtime, self.job(redis, *arguments))


def _has_expired(bench: Bench) -> bool:
    with bench.reading() as session:
        return bool(expired(session, SecondLook()))


def test_a_child_that_cannot_renew_is_not_taken_for_one_that_stands_still(
    bench: Bench, redis: Redis, monkeypatch: pytest.MonkeyPatch, lease_clock: list[float]
) -> None:
    app, us = bench.app(), os.getpid()
    bench.ask(app)
    with bench.writing() as session:
        claim_next(session, app.id or 0, holder_name(us))
        session.exec(select(Lease)).one().expires_at = now() - timedelta(minutes=2)
    worker = DeploymentWorker([Queue("any", connection=redis)], connection=redis)
    worker.runtime = bench.runtime
    monkeypatch.setattr("jobs.worker.LOCKED_AT_MOST_S", 0.1)
    file = bench.runtime.settings.data_dir / "keystone.db"
    assert not worker.does_not_move(us)
    lease_clock[0] += SECOND_LOOK_AFTER_S
    with closing(sqlite3.connect(file, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        assert not worker.does_not_move(us)
    assert worker.does_not_move(us)
    assert not worker.does_not_move(us + 1)


class TestWhatItRefuses:
    @pytest.mark.parametrize(
        ("data", "fields"),
        [
            (["os.system", None, ["touch {marker}"], {}], {}),
            (["jobs.tasks.os.system", None, ["touch {marker}"], {}], {}),
            (["system", "os", ["touch {marker}"], {}], {}),
            (
                [TASK, None, [1], {}],
                {"success_callback_name": "os.system", "failure_callback_name": "os.system"},
            ),
        ],
        ids=["another function", "through our module", "of an instance", "callbacks"],
    )
    def test_a_job_that_keystone_did_not_put_there(
        self,
        bench: Bench,
        redis: Redis,
        file: Path,
        data: list[object],
        fields: dict[str, str],
    ) -> None:
        marker = file.with_name("broken-in")
        good = bench.ask(bench.app())
        queue = Queue(bench.runtime.queue.name(), connection=redis, serializer="json")
        job = queue.enqueue(TASK, 1, job_id="evil")
        written = json.dumps(data).replace("{marker}", str(marker))
        for name, value in {"data": written, **fields}.items():
            redis.hset("rq:job:evil", name, value)
        bench.runtime.queue.wake([good])
        with worker(bench.runtime, file):
            # The next one is run all the same, once the evil one is out of the way.
            begun(file)
            assert not marker.exists()
            refused = Job.fetch(job.id, connection=redis, serializer="json")
            assert refused.is_failed

    def test_the_reason_is_said(self, redis: Redis) -> None:
        job = DeploymentJob.create("os.system", args=["true"], connection=redis, serializer="json")
        with pytest.raises(PermissionError, match="did not put there"):
            _ = job.func

    def test_callbacks_are_never_found(self, redis: Redis) -> None:
        job = DeploymentJob.create(TASK, args=[1], connection=redis, serializer="json")
        job._success_callback_name = job._failure_callback_name = "os.system"
        assert (job.success_callback, job.failure_callback, job.stopped_callback) == (None,) * 3
        with pytest.raises(PermissionError):
            _ = job.func

    def test_no_address_that_redis_names_is_told_anything(self, redis: Redis) -> None:
        with socket.create_server(("127.0.0.1", 0)) as listener:
            listener.settimeout(0.5)
            url = f"http://127.0.0.1:{listener.getsockname()[1]}/"
            job = DeploymentJob.create(TASK, args=[1], connection=redis, serializer="json")
            job.webhooks = [Webhook(url, "failed", timeout=1)]
            job.send_webhooks(JobStatus.FAILED)
            with pytest.raises(TimeoutError):
                listener.accept()


def test_only_the_dead_childs_lease_expires(bench: Bench) -> None:
    app = bench.app()
    bench.ask(app)
    with bench.writing() as session:
        claim_next(session, app.id or 0, holder_name(os.getpid()))
    tell_watcher(bench.runtime, os.getpid() + 1)
    assert not _has_expired(bench)
    tell_watcher(bench.runtime, os.getpid())
    assert _has_expired(bench)


def test_a_deployment_may_wake_up_itself(bench: Bench, file: Path) -> None:
    """It does when its claim went to a rival that the branch then put behind it."""
    deployment = bench.ask(bench.app())
    bench.runtime.queue.wake([deployment])
    with worker(bench.runtime, file, program=WAKES_ITSELF):
        wanted = f"{deployment} " * 3
        wait_for(lambda: file.exists() and file.read_text() == wanted)
