"""/metrics: computed from the database, so that all processes agree and a restart loses nothing."""

from collections.abc import Iterator
from typing import Any

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    Metric,
    SummaryMetricFamily,
)
from prometheus_client.registry import Collector
from sqlalchemy import ColumnElement, extract, func
from sqlmodel import Session, col, select
from starlette.responses import Response

from jobs.records.statuses import NO_TOKEN, OVERTAKEN
from jobs.states import DeliveryOutcome, DeploymentState, Lane, Refusal, Trigger
from jobs.storage.database import Database
from jobs.storage.models import CommitStatus, Delivery, Deployment, RefusalCount, Step, now
from receiver.access import Door
from receiver.routing import TEXT, Call, Endpoints, Nothing

ENDPOINTS = Endpoints()

SECONDS_A_DAY = 86400


class KeystoneCollector(Collector):
    """Computes the metrics at each collection, in one read transaction."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def collect(self) -> Iterator[Metric]:
        """Give the metrics."""
        with self._database.reading() as session:
            yield _deliveries(session)
            yield _refused(session)
            yield _deployments(session)
            yield _recoveries(session)
            yield _steps(session, is_sqlite=self._database.is_sqlite)
            yield from _queue(session)
            yield from _statuses(session)


def _deliveries(session: Session) -> Metric:
    rows = session.exec(select(Delivery.outcome, func.count()).group_by(Delivery.outcome)).all()
    counts = dict(rows)
    family = CounterMetricFamily(
        "keystone_deliveries", "Deliveries kept, by outcome", labels=["outcome"]
    )
    for outcome in DeliveryOutcome:
        family.add_metric([outcome], counts.get(outcome, 0))
    return family


def _refused(session: Session) -> Metric:
    counts = dict(session.exec(select(RefusalCount.reason, RefusalCount.count)).all())
    family = CounterMetricFamily(
        "keystone_deliveries_refused", "Deliveries refused, by reason", labels=["reason"]
    )
    for reason in Refusal:
        family.add_metric([reason], counts.get(reason, 0))
    return family


def _deployments(session: Session) -> Metric:
    rows = session.exec(select(Deployment.state, func.count()).group_by(Deployment.state)).all()
    counts = dict(rows)
    family = GaugeMetricFamily("keystone_deployments", "Deployments, by state", labels=["state"])
    for state in DeploymentState:
        family.add_metric([state], counts.get(state, 0))
    return family


def _recoveries(session: Session) -> Metric:
    statement = select(func.count()).where(Deployment.trigger == Trigger.RECOVERY)
    return CounterMetricFamily(
        "keystone_recoveries",
        "Releases that did not stay up, with one before them to go back to",
        value=session.exec(statement).one(),
    )


def _steps(session: Session, *, is_sqlite: bool) -> Metric:
    seconds = _seconds_between_sqlite() if is_sqlite else _seconds_between_server()
    statement = (
        select(Step.name, func.count(), func.sum(seconds))
        .where(col(Step.ended_at).is_not(None))
        .group_by(Step.name)
    )
    family = SummaryMetricFamily(
        "keystone_step_duration_seconds", "How long ended steps took", labels=["step"]
    )
    for name, count, total in session.exec(statement).all():
        family.add_metric([name], count, float(total))
    return family


def _seconds_between_sqlite() -> ColumnElement[Any]:
    days = func.julianday(Step.ended_at) - func.julianday(Step.started_at)
    return days * SECONDS_A_DAY


def _seconds_between_server() -> ColumnElement[Any]:
    return extract("epoch", col(Step.ended_at) - col(Step.started_at))


def _queue(session: Session) -> Iterator[Metric]:
    waiting = Deployment.state == DeploymentState.QUEUED
    statement = (
        select(Deployment.trigger, func.count(), func.min(Deployment.queued_at))
        .where(waiting)
        .group_by(Deployment.trigger)
    )
    rows, moment = session.exec(statement).all(), now()
    depth = GaugeMetricFamily("keystone_queue_depth", "Deployments that wait", labels=["lane"])
    age = GaugeMetricFamily(
        "keystone_queue_age_seconds", "How long the oldest of them has waited", labels=["lane"]
    )
    for lane in Lane:
        of_lane = [
            (count, oldest) for trigger, count, oldest in rows if Trigger(trigger).lane is lane
        ]
        depth.add_metric([lane], sum(count for count, _ in of_lane))
        since = min((oldest for _, oldest in of_lane), default=moment)
        age.add_metric([lane], max((moment - since).total_seconds(), 0))
    yield from (depth, age)


def _statuses(session: Session) -> Iterator[Metric]:
    unposted = col(CommitStatus.posted_at).is_(None)
    settled = col(CommitStatus.next_attempt_at).is_(None)
    tried = col(CommitStatus.error).not_in([NO_TOKEN, OVERTAKEN])
    failed = session.exec(select(func.count()).where(unposted, settled, tried)).one()
    waiting = session.exec(select(func.count()).where(unposted, ~settled)).one()
    yield CounterMetricFamily(
        "keystone_status_failures", "Commit statuses given up on", value=failed
    )
    yield GaugeMetricFamily(
        "keystone_statuses_waiting", "Commit statuses not sent to GitHub yet", value=waiting
    )


@ENDPOINTS.add("GET", "/metrics", needs=Door.TOKEN_OR_LOOPBACK, gives=TEXT)
def show_metrics(call: Call[Nothing]) -> Response:
    """Give the metrics in Prometheus' text format."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(KeystoneCollector(call.runtime.database))
    return Response(generate_latest(registry), media_type=CONTENT_TYPE_LATEST)
