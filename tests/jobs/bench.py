"""A Keystone on a workbench: a real database and Redis, and the fake world around it."""

import time
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from pydantic import SecretStr
from sqlmodel import Session, col, select, update

from jobs.dispatch import dispatch
from jobs.duties.reconcile import SWEEPS, Part, reconcile, repairs
from jobs.processes.runtime import Runtime
from jobs.records.apps import add_app
from jobs.records.deliveries import Envelope, Receipt, accept_push
from jobs.records.deployments import cancel
from jobs.records.engine_items import note_making
from jobs.records.leases import GIVEN_UP
from jobs.records.pushes import judge
from jobs.records.requests import Request, request
from jobs.rules.actors import Actor
from jobs.rules.app_fields import AppInput
from jobs.rules.naming import container_name, labels
from jobs.rules.triggers import Push
from jobs.settings import WorkerSettings
from jobs.states import (
    EVERY_LANE,
    ActorKind,
    ContainerState,
    DeploymentState,
    Lane,
    StepName,
    StepState,
    Trigger,
)
from jobs.storage.deployment_log import log_path, read_log
from jobs.storage.models import App, CommitStatus, Deployment, Identity, Lease, Step, now
from tests.fakes import FakeRepository, FakeWorld

TESTER = Actor(ActorKind.USER, "ada")
FILES: dict[str, bytes | str] = {"Dockerfile": "FROM scratch", "web": b"\x7fELF"}
NOWHERE = "0" * 40


class KilledError(BaseException):
    """The worker's process ends here: nothing of Keystone's catches this."""


def kill(_about: str) -> None:
    """End the worker in the middle of a call."""
    raise KilledError


@dataclass
class Bench:
    """Everything a test needs to tell a story about apps and deployments."""

    runtime: Runtime[WorkerSettings]
    world: FakeWorld
    pushed: int = 0
    deliveries: int = 0
    heads: dict[str, str] = field(default_factory=dict)
    parts: tuple[Part, ...] = field(default_factory=lambda: (*repairs(), *SWEEPS))

    # --- Doing -------------------------------------------------------------------------------

    def app(self, name: str = "web", *, repository: str = "octo/web", **fields: object) -> App:
        """Make an app; its repository is in the fake world as well."""
        wanted = AppInput.model_validate({"name": name, "repository": repository, **fields})
        settings, vault = self.runtime.settings, self.runtime.vault
        with self.writing() as session:
            created = add_app(session, wanted, TESTER, settings=settings, vault=vault)
        self.world.source.repositories.setdefault(self._url(repository), FakeRepository())
        return created.app

    def repository(self, name: str = "octo/web") -> FakeRepository:
        """Give a repository of the fake world."""
        return self.world.source.repositories[self._url(name)]

    def _url(self, repository: str) -> str:
        return f"https://github.com/{repository}.git"

    def commit(self, message: str = "Change something") -> str:
        """Put a commit on main."""
        return self.repository().commit(FILES, message=message)

    def push(self, app: App, *, message: str = "Change something") -> int:
        """Commit, have GitHub deliver the push, and give the id of the app's deployment."""
        receipt = self.deliver(push_of(self, self.commit(message), message=message))
        return next(row.id or 0 for row, name in receipt.deployments if name == app.name)

    def deliver(
        self, push: Push, *, guid: str = "", body: str = "", repository_id: int = 1
    ) -> Receipt:
        """Have GitHub deliver a push."""
        self.deliveries += 1
        guid = guid or f"guid-{self.deliveries}"
        digest = body or f"{self.deliveries:064x}"
        envelope = Envelope(guid, "push", digest, repository_id, "140.82.112.1")
        with self.runtime.database.reading() as session:
            judgement = judge(session, push)

        def accept() -> Receipt:
            with self.writing() as session:
                return accept_push(session, envelope, judgement)

        return judgement.settle(accept)

    def ask(self, app: App, *, ref: str = "refs/heads/main", sha: str = "") -> int:
        """Trigger a deployment by hand."""
        with self.writing() as session:
            wanted = Request(trigger=Trigger.MANUAL, ref=ref, commit_sha=sha)
            return request(session, app, wanted, TESTER).id or 0

    def run(
        self,
        deployment_id: int,
        *,
        holder: str = "worker:1",
        lanes: Collection[Lane] = EVERY_LANE,
        is_leaving: Callable[[], bool] = lambda: False,
    ) -> Deployment:
        """Have a worker take the wake-up of a deployment."""
        dispatch(
            self.runtime,
            self.world.tools,
            deployment_id,
            holder=holder,
            lanes=lanes,
            is_leaving=is_leaving,
        )
        return self.deployment(deployment_id)

    def run_and_die(self, deployment_id: int) -> None:
        """Have a worker take a wake-up, be killed at it, and be missed for longer than a lease."""
        try:
            self.run(deployment_id)
        except KilledError:
            self.world.engine.heal()
            self.world.router.heal()
            self.world.probe.heal()
            self.world.source.heal()
        else:
            raise AssertionError("the worker was not killed")
        self.expire_leases()

    def deploy(self, app: App) -> Deployment:
        """Push and run."""
        done = self.run(self.push(app))
        assert done.state is DeploymentState.SUCCESS, done.reason
        return done

    def reconcile(self) -> None:
        """Do one round of the watcher."""
        reconcile(self.runtime, self.world.tools, self.parts)

    def cancel(self, deployment_id: int) -> None:
        """Have a person say stop."""
        with self.writing() as session:
            cancel(session, session.get_one(Deployment, deployment_id), TESTER)

    def prove_releases(self) -> None:
        """Have every live release have stood its trial; the watcher has not looked yet."""
        with self.writing() as session:
            session.exec(update(App).values(trial_ends_at=None))

    def pass_trial(self, app: App) -> None:
        """Have the first minute of an app's live release be over, and the watcher see it."""
        with self.writing() as session:
            session.get_one(App, app.id).trial_ends_at = now()
        self.reconcile()

    def expire_leases(self) -> None:
        """Have every lease's holder be known to be gone."""
        with self.writing() as session:
            for lease in session.exec(select(Lease)).all():
                lease.expires_at = GIVEN_UP

    # --- Looking -----------------------------------------------------------------------------

    @contextmanager
    def writing(self) -> Iterator[Session]:
        """Open a writing transaction."""
        with self.runtime.database.writing() as session:
            yield session

    @contextmanager
    def reading(self) -> Iterator[Session]:
        """Open a reading transaction."""
        with self.runtime.database.reading() as session:
            yield session

    def deployment(self, deployment_id: int) -> Deployment:
        """Read a deployment's row."""
        with self.reading() as session:
            return session.get_one(Deployment, deployment_id)

    def fresh(self, app: App) -> App:
        """Read an app's row again."""
        with self.reading() as session:
            return session.get_one(App, app.id)

    def states(self, app: App) -> list[str]:
        """Give the states of an app's deployments, by number."""
        with self.reading() as session:
            statement = select(Deployment).where(Deployment.app_id == app.id)
            rows = session.exec(statement.order_by(col(Deployment.number))).all()
            return [str(row.state) for row in rows]

    def steps(self, deployment_id: int) -> dict[StepName, StepState]:
        """Give how each step of a deployment stands."""
        return {step.name: step.state for step in self.step_rows(deployment_id)}

    def step_rows(self, deployment_id: int) -> list[Step]:
        """Read the steps of a deployment, in the order they were begun."""
        with self.reading() as session:
            statement = select(Step).where(Step.deployment_id == deployment_id)
            return list(session.exec(statement.order_by(col(Step.id))).all())

    def statuses(self, deployment_id: int) -> list[CommitStatus]:
        """Read what GitHub is to be told of a deployment."""
        with self.reading() as session:
            statement = select(CommitStatus).where(CommitStatus.deployment_id == deployment_id)
            return list(session.exec(statement.order_by(col(CommitStatus.id))).all())

    def leases(self) -> list[Lease]:
        """Read who holds what."""
        with self.reading() as session:
            return list(session.exec(select(Lease)).all())

    def log(self, deployment_id: int) -> str:
        """Read a deployment's log."""
        part = read_log(log_path(self.runtime.settings.logs_dir, deployment_id))
        assert part is not None
        return part.text

    def image_key(self) -> SecretStr:
        """Give the key that this Keystone's image tags are made with."""
        with self.reading() as session:
            return SecretStr(session.get_one(Identity, 1).image_key)

    def serving(self, app: App) -> str | None:
        """Give the id of the container that the router leads the app's visitors to."""
        route = self.world.router.current.get(app.host_port)
        container = self.world.engine.at(route.address) if route else None
        return container.about.id if container else None

    def container_of(self, deployment_id: int) -> str:
        """Give the id of the one container of a deployment."""
        (found,) = self.containers_of(deployment_id)
        return found

    def running_of(self, deployment_id: int) -> list[str]:
        """Give the ids of the containers of a deployment that run."""
        every, running = self.world.engine.all_containers, ContainerState.RUNNING
        return [c for c in self.containers_of(deployment_id) if every[c].about.state is running]

    def containers_of(self, deployment_id: int) -> list[str]:
        """Give the ids of the containers of a deployment."""
        ours = self.world.engine.all_containers.values()
        wanted = str(deployment_id)
        return [c.about.id for c in ours if c.about.labels.get("keystone.deployment") == wanted]

    def leave(self, app: str, number: int) -> str:
        """Leave a container as a killed worker does; give its id."""
        identity = self.runtime.identity
        name = container_name(identity, app, number)
        with self.writing() as session:
            note_making(session, identity, app, name)
        return self.world.engine.add_container(name, labels(identity, app, number))


def push_of(
    bench: Bench, sha: str, *, message: str = "Change something", **changes: object
) -> Push:
    """Describe a push that makes main this commit, a second after the one before it."""
    bench.pushed += 1
    fields = {
        "github_id": 99,
        "full_name": "octo/web",
        "ref": "refs/heads/main",
        "before": bench.heads.get("refs/heads/main", NOWHERE),
        "commit_sha": sha,
        "deleted": False,
        "message": message,
        "author": "Ada",
        "sender": "octocat",
        "pushed_at": 1_700_000_000 + bench.pushed,
        **changes,
    }
    bench.heads["refs/heads/main"] = sha
    return Push(**fields)  # type: ignore[arg-type]


def wait_for(condition: Callable[[], object], *, within_s: float = 60) -> None:
    """Wait until something is so; fail when it takes too long."""
    deadline = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.02)


def token(text: str = "ghp_secretsecretsecret") -> SecretStr:
    """Give a token."""
    return SecretStr(text)
