"""The worker: takes wake-ups from the queue and runs each in its own child process.

RQ's fork worker with five stricter rules (FACTS A1): only our own task may run; the child dies with
its worker; a child that hangs or is stopped is killed; a killed child's lease expires at once; and
when the worker must stop, a slow child puts its deployment back into the queue.
"""

import gc
import logging
import math
import os
import signal
import time
from contextlib import suppress
from resource import struct_rusage
from typing import Any

from redis import Redis
from redis.client import Pipeline
from redis.exceptions import RedisError
from rq import Queue, Worker, worker_registration
from rq.exceptions import DeserializationError
from rq.executions import Execution
from rq.job import Job
from rq.worker import WorkerStatus

from jobs import tasks
from jobs.deployment.claims import has_work
from jobs.deployment.lease import SecondLook, holder_name, is_overdue
from jobs.deployment.ready_child import Standby
from jobs.deployment.warm_up import rehearse
from jobs.errors import PlatformError, StorageError
from jobs.processes.bus import FOLLOW_PRIMARY
from jobs.processes.queue import TASK, queue_name
from jobs.processes.runtime import Runtime
from jobs.records.leases import expire
from jobs.settings import WorkerSettings
from jobs.states import Lane
from jobs.system.die_with_parent import die_with, give_own_group
from jobs.system.stopped import LongStopped
from jobs.system.watch_times import HAND_OVER_AFTER_S, HEARTBEAT_EVERY_S, LOCKED_AT_MOST_S

logger = logging.getLogger(__name__)

WORKER_TTL_S = 45
MAINTENANCE_EVERY_S = 30
# Apps and the web process, which serve requests, take precedence over deployments.
NICENESS = 5
HAND_OVER = signal.SIGUSR1
RQ_VERSION = "__rq_redis_server_version"  # where RQ keeps the version of the Redis server


class DeploymentJob(Job):
    """A job that can only run our own task: Redis is not trusted to name functions."""

    @property
    def func(self) -> Any:  # noqa: ANN401 — RQ's own signature
        """Return our task.

        Raises:
            PermissionError: the job names another function or has callbacks.
        """
        callbacks = (
            self._success_callback_name,
            self._failure_callback_name,
            self._stopped_callback_name,
        )
        if self.func_name != TASK or self.instance or any(callbacks):
            raise PermissionError("the queue holds a job that Keystone did not put there")
        return tasks.deploy

    def send_webhooks(self, *_args: Any, **_options: Any) -> None:  # noqa: ANN401 — RQ's own
        """Do nothing: Redis is not trusted to name addresses either."""

    # RQ calls these regardless of `func`; our jobs never have any.
    success_callback = failure_callback = stopped_callback = property(lambda _self: None)


class DeploymentWorker(Worker):
    """RQ's worker, whose child processes cannot outlive it."""

    job_class = DeploymentJob
    runtime: Runtime[WorkerSettings]
    standby: Standby | None = None
    hands_over_at = math.inf  # of `time.monotonic`
    stopped = LongStopped()
    second_look = SecondLook()

    def bootstrap(self, *args: Any, **kwargs: Any) -> None:  # noqa: ANN401 — RQ's own signature
        """Start the worker, with a child that waits for the first job."""
        super().bootstrap(*args, **kwargs)
        # The signal must not end a child that has not installed its handler yet.
        signal.signal(HAND_OVER, signal.SIG_IGN)
        self.stand_by()

    def stand_by(self) -> None:
        """Fork a child that prepares itself and waits for the next job."""
        self.standby = Standby.fork(
            (self._know_the_statements, self._know_the_engine), self._take_over
        )

    def fork_work_horse(self, job: Job, queue: Queue) -> None:
        """Give the job to the waiting child; fork a new one when that has died."""
        execution = self.execution
        standby, self.standby = self.standby, None
        if execution and standby and standby.hand_over(f"{job.id} {execution.id}"):
            self._horse_pid = standby.pid
        else:
            super().fork_work_horse(job, queue)
            give_own_group(self.horse_pid)

    def _know_the_statements(self) -> None:
        """In the child: open the database, and compile a deployment's SQL statements."""
        with suppress(StorageError):
            rehearse(self.runtime)
        gc.collect()
        gc.freeze()

    def _know_the_engine(self) -> None:
        """In the child: connect to the engine, and make its slow query for free disk space."""
        with suppress(PlatformError):
            tasks.tools().engine.free_disk()

    def _take_over(self, message: str) -> None:
        """In the child: fetch the job that the worker handed over, and run it."""
        job_id, execution_id = message.split()
        job = self.job_class.fetch(job_id, self.connection, self.serializer)
        execution = Execution.fetch(execution_id, job_id, self.connection)
        self.executions = {execution.id: execution}
        queue = next((each for each in self.queues if each.name == job.origin), self.queues[0])
        self.main_work_horse(job, queue)

    def main_work_horse(self, job: Job, queue: Queue) -> None:
        """Run one job in the child process; never returns."""
        if not die_with(self.pid or 0):
            os._exit(1)
        super().main_work_horse(job, queue)

    def setup_work_horse_signals(self) -> None:
        """In the child: also handle the signal that asks to hand the deployment over."""
        super().setup_work_horse_signals()  # type: ignore[no-untyped-call]
        signal.signal(HAND_OVER, lambda *_: tasks.leaving.set())

    def handle_warm_shutdown_request(self) -> None:
        """Give the child `HAND_OVER_AFTER_S` to finish before it must hand its deployment over."""
        self.hands_over_at = time.monotonic() + HAND_OVER_AFTER_S

    def execute_job(self, job: Job, queue: Queue) -> None:
        """Run the job in a child, unless nothing is left to do: one of many wake-ups is enough."""
        if is_needless(self.runtime, job):
            queue.intermediate_queue.remove(job.id)
            job.delete()
            return
        super().execute_job(job, queue)
        # The child that ran the job has ended: fork the next one.
        self.stand_by()

    def heartbeat(self, timeout: int | None = None, pipeline: Pipeline | None = None) -> None:
        """Renew our heartbeat and our registration in Redis, whose data may have been lost."""
        super().heartbeat(timeout, pipeline)
        # RQ asks for the server's version once, but the server may be replaced.
        vars(self.connection).pop(RQ_VERSION, None)
        worker_registration.register(self, pipeline)

    def maintain_heartbeats(self, job: Job, execution: Execution) -> None:
        """Watch the child and send heartbeats; a Redis that is down does not end the deployment."""
        # Only we notice a stopped child that has no lease yet, or no longer has one.
        if self.stopped.among([self.horse_pid]) or self.does_not_move(self.horse_pid):
            logger.error(
                "the child %d stands still: it is killed",
                self.horse_pid,
                extra={"action": "horse_overdue"},
            )
            self.kill_horse(signal.SIGKILL)
        elif time.monotonic() > self.hands_over_at:
            with suppress(ProcessLookupError):
                os.kill(self.horse_pid, HAND_OVER)
        with suppress(RedisError):
            super().maintain_heartbeats(job, execution)

    def does_not_move(self, pid: int) -> bool:
        """Whether a child has not renewed its lease for so long that it must have been stopped."""
        try:
            with self.runtime.database.writing(
                until=time.monotonic() + LOCKED_AT_MOST_S
            ) as session:
                return is_overdue(session, holder_name(pid), self.second_look)
        except StorageError:
            # Unknown: while the database cannot be written, the child cannot renew either.
            return False
        finally:
            # The next child is forked from this process: it must not inherit an open connection.
            self.runtime.database.close()

    def get_state(self) -> WorkerStatus:
        """Return whether a child is at work, without asking Redis: RQ calls this at SIGTERM."""
        return WorkerStatus.BUSY if self.horse_pid else WorkerStatus.IDLE

    def set_shutdown_requested_date(self) -> None:
        """Note in Redis that we must stop; a Redis that is down does not keep us from stopping."""
        with suppress(RedisError):
            super().set_shutdown_requested_date()  # type: ignore[no-untyped-call]

    def handle_work_horse_killed(
        self, job: Job, retpid: int, ret_val: int, rusage: struct_rusage
    ) -> None:
        """Expire the killed child's lease, so the watcher takes its deployment over at once."""
        logger.error(
            "the child %d working on %s was killed (%d)",
            retpid,
            job.id,
            ret_val,
            extra={"action": "horse_killed"},
        )
        tell_watcher(self.runtime, retpid)
        super().handle_work_horse_killed(job, retpid, ret_val, rusage)  # type: ignore[no-untyped-call]


def is_needless(runtime: Runtime[WorkerSettings], job: Job) -> bool:
    """Whether the app has nothing queued, or its lease holder will check the queue afterwards."""
    if job.func_name != TASK:
        return False
    try:
        (deployment_id,) = job.args
        with runtime.database.reading() as session:
            return not has_work(session, int(deployment_id))
    except (StorageError, DeserializationError, ValueError, TypeError, OverflowError):
        # The child meets the same error, and reports it.
        return False
    finally:
        # Children are forked from this process: they must not inherit an open connection.
        runtime.database.close()


def tell_watcher(runtime: Runtime[WorkerSettings], pid: int) -> None:
    """Expire the leases of a dead child; otherwise they take half a minute to run out."""
    try:
        with runtime.database.writing() as session:
            expire(session, holder_name(pid))
    except StorageError as exc:
        logger.warning("%s", exc)
    finally:
        # The next child is forked from this process: it must not inherit an open connection.
        runtime.database.close()


def run_worker(runtime: Runtime[WorkerSettings], *, is_quick: bool = False) -> None:
    """Process jobs until SIGTERM; then finish the running one and return.

    Args:
        is_quick: whether to run only deployments that need no build. Other workers run these, too,
            and before all others.

    Raises:
        RedisError: Redis does not answer at the start; the supervisor restarts us.
        StorageError: the database does not answer at the start; the supervisor restarts us.
    """
    # Before the priority is lowered: on a busy machine, a process with a low priority would hold
    # the writers' lock for so long that the web process has to refuse pushes.
    rehearse(runtime)
    runtime.database.close()
    os.nice(NICENESS)
    # A child whose garbage collector visits inherited objects would copy all of their memory pages.
    gc.collect()
    gc.freeze()
    connection = Redis.from_url(runtime.settings.effective_redis_url, retry=FOLLOW_PRIMARY)
    tasks.Taken.lanes = (Lane.QUICK,) if is_quick else (Lane.QUICK, Lane.BUILD)
    worker = DeploymentWorker(
        [
            Queue(queue_name(runtime.identity, lane), connection=connection, serializer="json")
            for lane in tasks.Taken.lanes
        ],
        connection=connection,
        serializer="json",
        job_class=DeploymentJob,
        worker_ttl=WORKER_TTL_S,
        maintenance_interval=MAINTENANCE_EVERY_S,
        job_monitoring_interval=HEARTBEAT_EVERY_S,
        log_job_description=False,
    )
    worker.runtime = runtime
    worker.work(logging_level="WARNING")
