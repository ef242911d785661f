"""The worker: takes wake-ups from the queue and runs each in a child process of its own.

RQ's fork worker, with three things made stricter (FACTS A1): only our own task may run, the child
dies with its worker, and a child that was killed has its lease expired at once.
"""

import gc
import logging
import os
from resource import struct_rusage
from typing import Any

from redis import Redis
from rq import Queue, Worker
from rq.job import Job

from jobs import tasks
from jobs.errors import StorageError
from jobs.guard import die_with
from jobs.lease import expire, holder_name
from jobs.queue import TASK
from jobs.rehearsal import rehearse
from jobs.runtime import Runtime
from jobs.settings import WorkerSettings

logger = logging.getLogger(__name__)

WORKER_TTL_S = 45
MAINTENANCE_EVERY_S = 30
MONITORING_EVERY_S = 10


class DeploymentJob(Job):
    """A job that can be nothing but one of our tasks: Redis is not trusted to name functions."""

    @property
    def func(self) -> Any:  # noqa: ANN401 — RQ's own signature
        """Give our task.

        Raises:
            PermissionError: the job names another function, or brings callbacks.
        """
        callbacks = (
            self._success_callback_name,
            self._failure_callback_name,
            self._stopped_callback_name,
        )
        if self.func_name != TASK or self.instance or any(callbacks):
            raise PermissionError("the queue holds a job that Keystone did not put there")
        return tasks.deploy

    # RQ calls these whatever `func` says; a job of ours never has any.
    success_callback = failure_callback = stopped_callback = property(lambda _self: None)


class DeploymentWorker(Worker):
    """RQ's worker, with children that cannot outlive it."""

    job_class = DeploymentJob

    def main_work_horse(self, job: Job, queue: Queue) -> None:
        """Run one job in the child process; never returns."""
        if not die_with(self.pid or 0):
            os._exit(1)
        super().main_work_horse(job, queue)

    def handle_work_horse_killed(
        self, job: Job, retpid: int, ret_val: int, rusage: struct_rusage
    ) -> None:
        """Let the watcher take over at once what the killed child was doing."""
        logger.error(
            "the child %d working on %s was killed (%d)",
            retpid,
            job.id,
            ret_val,
            extra={"action": "horse_killed"},
        )
        tell_watcher(self.runtime, retpid)
        super().handle_work_horse_killed(job, retpid, ret_val, rusage)  # type: ignore[no-untyped-call]

    runtime: Runtime[WorkerSettings]


def tell_watcher(runtime: Runtime[WorkerSettings], pid: int) -> None:
    """Expire the leases of a dead child; without this they expire by themselves, in 20 s."""
    try:
        with runtime.database.writing() as session:
            expire(session, holder_name(pid))
    except StorageError as exc:
        logger.warning("%s", exc)
    finally:
        # The next child is forked from here: it must not inherit an open connection.
        runtime.database.close()


def run_worker(runtime: Runtime[WorkerSettings]) -> None:
    """Take work until SIGTERM; then finish what is running and return.

    Raises:
        RedisError: Redis does not answer at the start; whoever supervises starts us again.
        StorageError: nor does the database.
    """
    rehearse(runtime)
    runtime.database.close()
    # A child that looked for garbage among what it has from us would get its own copy of it all.
    gc.collect()
    gc.freeze()
    connection = Redis.from_url(runtime.settings.effective_redis_url)
    worker = DeploymentWorker(
        [Queue(runtime.queue.name, connection=connection, serializer="json")],
        connection=connection,
        serializer="json",
        job_class=DeploymentJob,
        worker_ttl=WORKER_TTL_S,
        maintenance_interval=MAINTENANCE_EVERY_S,
        job_monitoring_interval=MONITORING_EVERY_S,
        log_job_description=False,
    )
    worker.runtime = runtime
    worker.work(logging_level="WARNING")
