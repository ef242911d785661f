"""Makes a deployment's records once and rolls them back, before a worker forks its first child.

SQLAlchemy takes milliseconds to compile a statement the first time, and caches the result. A child
runs only one deployment: without this warm-up it would compile every statement, which takes a tenth
of a second in all.
"""

from collections.abc import Callable
from contextlib import suppress
from typing import Concatenate, ParamSpec, TypeVar

from sqlmodel import Session

from jobs.deployment.claims import claim_next
from jobs.deployment.plan import read_plan
from jobs.errors import LeaseLostError
from jobs.processes.runtime import Runtime
from jobs.records import deployments as records
from jobs.records.deployments import HeldLease, Live
from jobs.records.engine_items import note_image, note_made, note_making
from jobs.records.leases import let_go
from jobs.records.requests import Request, request
from jobs.rules.actors import KEYSTONE
from jobs.rules.app_settings import BuildSettings, ContainerSettings
from jobs.rules.container_values import Container
from jobs.settings import WorkerSettings
from jobs.states import ContainerState, StepName, StepState, Trigger
from jobs.storage.models import App, Deployment, Release, Repository

P = ParamSpec("P")
T = TypeVar("T")

NOBODY = "(rehearsal)"  # no app and no repository could have this name
NO_COMMIT = "0" * 40
NO_ROW = -1


def rehearse(runtime: Runtime[WorkerSettings]) -> None:
    """Make a deployment's records in a transaction that is rolled back: nobody ever sees them.

    Raises:
        StorageError: the database cannot be reached.
    """
    with runtime.database.reading() as session, suppress(LeaseLostError):
        records.ensure_lease(session, HeldLease(0, 0, 0))
    with runtime.database.writing() as session:
        _act(session, runtime)
        session.rollback()


def _act(session: Session, runtime: Runtime[WorkerSettings]) -> None:
    def record(write: Callable[Concatenate[Session, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        found = write(session, *args, **kwargs)
        session.flush()
        # Each record reads its rows from the database, as it does in its own transaction.
        session.expunge_all()
        return found

    app, deployment = record(_queue)
    record(Session.get, Deployment, deployment.id)
    claim = record(claim_next, app.id or 0, NOBODY)
    if claim is None:  # pragma: no cover
        return
    held = claim.held
    record(records.begin, held)
    record(read_plan, runtime, held)
    record(records.start_step, held, StepName.CHECKOUT)
    record(records.record_commit, held, sha=NO_COMMIT, message="-", author="-")
    record(records.end_step, held, StepName.CHECKOUT, StepState.SUCCESS)
    record(note_image, NOBODY, NOBODY)
    release = record(records.record_release, held, _release(held))
    for _ in ("network is new", "network is on record"):
        record(note_making, NOBODY, NOBODY, NOBODY)
    record(note_made, Container(NOBODY, ContainerState.RUNNING, NOBODY))
    record(Session.get, Release, release.id)
    record(records.go_live, held, Live(release.id or 0, "-", "", "a"))
    record(let_go, held)


def _queue(session: Session) -> tuple[App, Deployment]:
    repository = Repository(full_name=NOBODY, name_key=NOBODY, git_url="")
    session.add(repository)
    session.flush()
    app = App(
        name=NOBODY,
        repository_id=repository.id or 0,
        host_port=0,
        # The state after a first deployment: SQLAlchemy updates only the columns that change.
        live_deployment_id=NO_ROW,
        live_release_id=NO_ROW,
        live_container_id=NOBODY,
        container_state=ContainerState.RUNNING,
    )
    session.add(app)
    session.flush()
    wanted = Request(trigger=Trigger.PUSH, ref="refs/heads/main", commit_sha=NO_COMMIT)
    return app, request(session, app, wanted, KEYSTONE)


def _release(held: HeldLease) -> Release:
    return Release(
        app_id=held.app_id,
        number=0,
        deployment_id=held.deployment_id,
        commit_sha=NO_COMMIT,
        image=NOBODY,
        image_id=NOBODY,
        configuration=1,
        build=BuildSettings(),
        container=ContainerSettings(),
        environment=b"",
    )
