"""One running deployment: what its steps know, the tools they use, and how they leave a record."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Concatenate, ParamSpec, TypeVar

from sqlmodel import Session

from jobs.adapters.ports import Engine, Probe, Router, Source
from jobs.deployment.claims import Claim
from jobs.deployment.plan import Plan
from jobs.records.deployments import HeldLease, end_step, ensure_lease, start_step
from jobs.rules.log_events import BuildEvent
from jobs.rules.stopping import StopSignal
from jobs.states import StepName, StepState
from jobs.storage.database import Database
from jobs.storage.deployment_log import DeploymentLog
from jobs.storage.models import App
from jobs.storage.vault import Vault

P = ParamSpec("P")
T = TypeVar("T")


@dataclass(frozen=True)
class Tools:
    """The outside world, as a deployment needs it."""

    engine: Engine
    source: Source
    router: Router
    probe: Probe


class StepRecord:
    """What a step may say of itself while it runs."""

    def __init__(self) -> None:
        self.state = StepState.SUCCESS
        self.reason = ""

    def skip(self, reason: str) -> None:
        """Have the step end as skipped: there was nothing to do."""
        self.state = StepState.SKIPPED
        self.reason = reason


@dataclass(frozen=True)
class Work:
    """Everything a step is handed.

    Attributes:
        pending: what goes on record with whatever is recorded next: mostly the start of the next
            step, and a transaction waits for the disk.
    """

    plan: Plan
    claim: Claim
    tools: Tools
    database: Database
    vault: Vault
    log: DeploymentLog
    stop: StopSignal
    pending: list[Callable[[Session], object]] = field(default_factory=list)

    @property
    def held(self) -> HeldLease:
        """The hold on the app that every record must prove."""
        return self.claim.held

    def record(
        self,
        write: Callable[Concatenate[Session, HeldLease, P], T],
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> T:
        """Make one record in a transaction of its own, with those that are pending.

        For the thread that does the work; the lease is renewed by another, by itself.

        Raises:
            LeaseLostError: the app is not ours any more.
        """
        with self.database.writing() as session:
            for write_before in self.pending:
                write_before(session)
            made = write(session, self.held, *args, **kwargs)
        self.pending.clear()
        return made

    def ensure_held(self) -> None:
        """Make sure, before touching the outside, that the app is still ours and nobody said stop.

        Raises:
            LeaseLostError: it is not.
            CancelledError: a person said stop.
        """
        self.stop.check()
        self.ensure_ours()

    def ensure_ours(self) -> None:
        """Make sure that the app is still ours; also when the work was told to stop.

        Raises:
            LeaseLostError: it is not.
        """
        with self.reading():
            pass

    @contextmanager
    def reading(self) -> Iterator[Session]:
        """Read while the app is ours: so it is there, and nobody has removed it.

        Raises:
            LeaseLostError: it is not ours any more.
        """
        with self.database.reading() as session:
            ensure_lease(session, self.held)
            yield session

    def is_live(self) -> bool:
        """Whether the database says that this deployment is what serves the app.

        Raises:
            LeaseLostError: the app is not ours any more.
            StorageError: the database does not say.
        """
        with self.reading() as session:
            app = session.get_one(App, self.plan.app_id)
            return app.live_deployment_id == self.plan.deployment_id

    @contextmanager
    def step(self, name: StepName) -> Iterator[StepRecord]:
        """Run a block as one step of the deployment, with its times and outcome on record.

        A step that raises is closed by whoever ends the deployment, with the same reason. After
        the last step there is nothing to wait for: `settle` puts its end on record.
        """
        self.stop.check()
        self.record(start_step, name)
        record = StepRecord()
        yield record
        end = partial(end_step, held=self.held, name=name, state=record.state, reason=record.reason)
        self.pending.append(end)

    def settle(self) -> None:
        """Put on record what is still to be.

        Raises:
            LeaseLostError: the app is not ours any more.
        """
        if self.pending:
            self.record(ensure_lease)

    def say(self, step: StepName, said: str | BuildEvent) -> None:
        """Write to the deployment's log."""
        self.log.write(step, said)
