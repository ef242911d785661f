"""Wake-ups of the workers: RQ jobs that contain only a deployment's id.

There is one queue for each lane, because a rollback must not wait behind builds. The lane of a
wake-up is only a hint: the worker that takes it reads from the database what is to be done.

The database is authoritative. The reconciler repeats a lost job, and a superfluous job finds
nothing to do.
"""

import logging
import secrets
from collections.abc import Collection, Iterable
from datetime import UTC, datetime, timedelta

from redis import Redis
from redis.exceptions import RedisError
from rq import Queue, Worker
from rq.worker import BaseWorker

from jobs.errors import QueueError
from jobs.states import EVERY_LANE, Lane
from jobs.storage.columns import now

logger = logging.getLogger(__name__)

TASK = "jobs.tasks.deploy"
# Longer than the sum of the deadlines of a deployment's steps; each step has its own, shorter one.
JOB_TIMEOUT_S = 3 * 3600
FAILED_JOB_KEPT_S = 3600
# A worker sends a heartbeat at least every 30 s; Redis keeps its entry much longer.
ALIVE_FOR = timedelta(seconds=60)


def queue_name(identity: str, lane: Lane = Lane.BUILD) -> str:
    """Give the name of this Keystone's queue of a lane; several Keystones may share a Redis."""
    return f"keystone-{identity}" if lane is Lane.BUILD else f"keystone-{identity}-{lane}"


class WorkQueue:
    """Wakes up workers."""

    def __init__(self, redis: Redis, identity: str) -> None:
        self._queues = {
            lane: Queue(queue_name(identity, lane), connection=redis, serializer="json")
            for lane in Lane
        }

    def name(self, lane: Lane = Lane.BUILD) -> str:
        """Give the name of a lane's queue."""
        return self._queues[lane].name

    def wake(self, deployment_ids: Iterable[int], lane: Lane = Lane.BUILD) -> bool:
        """Queue these deployments for the workers of a lane.

        Returns:
            False when Redis did not accept them all: the reconciler soon repeats them.
        """
        try:
            for deployment_id in deployment_ids:
                self._queues[lane].enqueue(
                    TASK,
                    deployment_id,
                    # A unique id each time: a deployment may queue itself again, and the end of
                    # the running job would delete a waiting job with the same id.
                    job_id=f"{self.name(lane)}-{deployment_id}-{secrets.token_hex(4)}",
                    job_timeout=JOB_TIMEOUT_S,
                    result_ttl=0,
                    failure_ttl=FAILED_JOB_KEPT_S,
                )
        except RedisError as exc:
            logger.warning(
                "Redis did not take a wake-up (%s); the reconciler repeats it",
                type(exc).__name__,
                extra={"action": "wake_up_failed"},
            )
            return False
        return True

    def waiting(self, lanes: Iterable[Lane] = EVERY_LANE) -> set[int]:
        """Give the ids of the deployments whose job no worker has taken yet.

        Args:
            lanes: the lanes to look at.

        Raises:
            QueueError: Redis does not answer.
        """
        try:
            job_ids = {lane: self._queues[lane].job_ids for lane in lanes}
        except RedisError as exc:
            raise QueueError(f"Redis does not answer: {type(exc).__name__}") from exc
        found = (
            job_id.removeprefix(f"{self.name(lane)}-").partition("-")[0]
            for lane, its_ids in job_ids.items()
            for job_id in its_ids
        )
        # The queue may contain foreign jobs, which must not stop the reconciler.
        return {int(each) for each in found if each.isdecimal()}

    def workers_alive(
        self, lanes: Collection[Lane] = (Lane.BUILD,), *, born_since: datetime | None = None
    ) -> int:
        """Count the workers that have sent a heartbeat within the last minute.

        Args:
            lanes: count only those that take deployments of one of these lanes.
            born_since: count only those that have started since then.

        Raises:
            QueueError: Redis does not answer.
        """
        try:
            of_lanes = [Worker.all(queue=self._queues[lane]) for lane in lanes]
        except RedisError as exc:
            raise QueueError(f"Redis does not answer: {type(exc).__name__}") from exc
        workers = list({each.name: each for found in of_lanes for each in found}.values())
        if born_since is not None:
            workers = [each for each in workers if _is_born_since(each, born_since)]
        heard = (worker.last_heartbeat for worker in workers)
        return sum(1 for at in heard if at is not None and now() - at < ALIVE_FOR)


def _is_born_since(worker: BaseWorker, moment: datetime) -> bool:
    born: datetime | None = worker.birth_date
    if born is None:
        return False
    return (born if born.tzinfo else born.replace(tzinfo=UTC)) >= moment
