"""SELECTs about deployments, returned as the views of `jobs.reads.views`."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import ColumnElement
from sqlmodel import Session, col, or_, select

from jobs.errors import NotFoundError
from jobs.reads.apps import find_app
from jobs.reads.paging import Walk, unindexed, walk_back
from jobs.reads.views import DeploymentView, Page, StatusView, StepView
from jobs.reads.waiting import waits
from jobs.states import DeploymentState, StepName, Trigger
from jobs.storage.models import App, CommitStatus, Deployment, Release, Step, now


@dataclass(frozen=True)
class DeploymentFilter:
    """The filter of a list of deployments; None means any."""

    app: str | None = None
    state: DeploymentState | None = None
    trigger: Trigger | None = None
    author: str | None = None  # part of the name
    text: str | None = None  # part of the message or the ref, or prefix of the commit id
    limit: int = 20
    before: int | None = None  # the id of the last deployment already seen


def find_deployment(session: Session, deployment_id: int) -> Deployment:
    """Give the deployment with that id.

    Raises:
        NotFoundError: no deployment has that id.
    """
    deployment = session.get(Deployment, deployment_id)
    if deployment is None:
        raise NotFoundError(f"there is no deployment with the id {deployment_id}")
    return deployment


def deployment_view(session: Session, deployment_id: int) -> DeploymentView:
    """Describe one deployment.

    Raises:
        NotFoundError: no deployment has that id.
    """
    return _deployment_views(session, [find_deployment(session, deployment_id)])[0]


def deployment_page(session: Session, wanted: DeploymentFilter) -> Page[DeploymentView]:
    """List deployments, newest first.

    Raises:
        NotFoundError: the filter names an app that does not exist.
    """
    rows, following = deployment_rows(session, wanted)
    return Page(items=_deployment_views(session, rows), next=following)


def deployment_rows(
    session: Session, wanted: DeploymentFilter
) -> tuple[list[Deployment], int | None]:
    """Give the rows of a list of deployments, and the cursor of its next page.

    Raises:
        NotFoundError: the filter names an app that does not exist.
    """
    along, narrow = _conditions(session, wanted)
    walk = Walk(wanted.limit, wanted.before, along, narrow)
    return walk_back(session, select(Deployment), col(Deployment.id), walk)


def _conditions(
    session: Session, wanted: DeploymentFilter
) -> tuple[list[ColumnElement[bool]], list[ColumnElement[bool]]]:
    """Split a filter into the conditions that an index covers and those that none covers.

    There is an index for the state and one for the trigger, but none for both.
    """
    along, narrow = [], []
    if wanted.app is not None:
        along.append(col(Deployment.app_id) == find_app(session, wanted.app).id)
    if wanted.state is not None:
        along.append(col(Deployment.state) == wanted.state)
    if wanted.trigger is not None and wanted.state is None:
        along.append(col(Deployment.trigger) == wanted.trigger)
    if wanted.trigger is not None and wanted.state is not None:
        narrow.append(unindexed(Deployment.trigger) == wanted.trigger)
    if wanted.author:
        narrow.append(col(Deployment.author).icontains(wanted.author, autoescape=True))
    if wanted.text:
        narrow.append(_says(wanted.text))
    return along, narrow


def _says(text: str) -> ColumnElement[bool]:
    return or_(
        col(Deployment.commit_message).icontains(text, autoescape=True),
        col(Deployment.ref).icontains(text, autoescape=True),
        col(Deployment.commit_sha).startswith(text.lower(), autoescape=True),
    )


def _deployment_views(session: Session, rows: Sequence[Deployment]) -> list[DeploymentView]:
    ids = [row.id for row in rows]
    app_ids = {row.app_id for row in rows}
    apps = dict(session.exec(select(App.id, App.name).where(col(App.id).in_(app_ids))).all())
    release_ids = [row.release_id for row in rows if row.release_id]
    releases = dict(
        session.exec(
            select(Release.id, Release.number).where(col(Release.id).in_(release_ids))
        ).all()
    )
    steps: dict[int, list[StepView]] = defaultdict(list)
    for step in session.exec(select(Step).where(col(Step.deployment_id).in_(ids))).all():
        steps[step.deployment_id].append(StepView.model_validate(step.model_dump()))
    statuses: dict[int, list[StatusView]] = defaultdict(list)
    for status in session.exec(
        select(CommitStatus)
        .where(col(CommitStatus.deployment_id).in_(ids))
        .order_by(col(CommitStatus.id))
    ).all():
        statuses[status.deployment_id].append(StatusView.model_validate(status.model_dump()))
    waiting = waits(session, rows)
    order = list(StepName)
    return [
        DeploymentView(
            **row.model_dump(
                include=set(DeploymentView.model_fields) & set(Deployment.model_fields)
            ),
            app=apps[row.app_id],
            actor=row.actor,
            waiting_for=told.words if (told := waiting.get(row.id or 0)) else None,
            place=told.place if told else None,
            release=releases.get(row.release_id),
            duration_s=duration_s(row.started_at, row.ended_at),
            steps=sorted(steps[row.id or 0], key=lambda step: order.index(step.name)),
            statuses=statuses[row.id or 0],
        )
        for row in rows
    ]


def duration_s(started_at: datetime | None, ended_at: datetime | None) -> float | None:
    """Give a duration in seconds, up to now if there is no end; None if there is no start."""
    if started_at is None:
        return None
    return round(((ended_at or now()) - started_at).total_seconds(), 3)
