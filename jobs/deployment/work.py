"""The context of a running deployment: what its steps know, their tools, and how they record."""

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
    """The adapters that a deployment needs."""

    engine: Engine
    source: Source
    router: Router
    probe: Probe


class StepRecord:
    """The outcome of a step, which the step may set while it runs."""

    def __init__(self) -> None:
        self.state = StepState.SUCCESS
        self.reason = ""

    def skip(self, reason: str) -> None:
        """Mark the step as skipped: it had nothing to do."""
        self.state = StepState.SKIPPED
        self.reason = reason


@dataclass(frozen=True)
class Work:
    """Everything that a step gets.

    Attributes:
        pending: writes that wait for the next transaction, usually the start of the next step:
            each transaction waits for the disk, so they share one.
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
        """The lease on the app, which every record must prove."""
        return self.claim.held

    def record(
        self,
        write: Callable[Concatenate[Session, HeldLease, P], T],
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> T:
        """Make one record and all pending ones in one transaction.

        Only for the thread that runs the steps; another thread renews the lease on its own.

        Raises:
            LeaseLostError: we do not hold the app's lease any more.
        """
        with self.database.writing() as session:
            for write_before in self.pending:
                write_before(session)
            made = write(session, self.held, *args, **kwargs)
        self.pending.clear()
        return made

    def ensure_held(self) -> None:
        """Check, before touching the outside, that we hold the lease and nobody asked to stop.

        Raises:
            LeaseLostError: we do not hold the app's lease any more.
            CancelledError: a person asked to stop.
        """
        self.stop.check()
        self.ensure_ours()

    def ensure_ours(self) -> None:
        """Check that we still hold the lease; works after a request to stop, too.

        Raises:
            LeaseLostError: we do not hold the app's lease any more.
        """
        with self.reading():
            pass

    @contextmanager
    def reading(self) -> Iterator[Session]:
        """Open a reading session that checks the lease: while we hold it, the app exists.

        Raises:
            LeaseLostError: we do not hold the app's lease any more.
        """
        with self.database.reading() as session:
            ensure_lease(session, self.held)
            yield session

    def is_live(self) -> bool:
        """Whether this deployment is the live one, according to the database.

        Raises:
            LeaseLostError: we do not hold the app's lease any more.
            StorageError: the database cannot be read.
        """
        with self.reading() as session:
            app = session.get_one(App, self.plan.app_id)
            return app.live_deployment_id == self.plan.deployment_id

    @contextmanager
    def step(self, name: StepName) -> Iterator[StepRecord]:
        """Run a block as one step of the deployment, and record its times and outcome.

        The code that ends the deployment closes a step that raised, with the same reason. The end
        of a step is recorded with the next step; `settle` records that of the last one.
        """
        self.stop.check()
        self.record(start_step, name)
        record = StepRecord()
        yield record
        end = partial(end_step, held=self.held, name=name, state=record.state, reason=record.reason)
        self.pending.append(end)

    def settle(self) -> None:
        """Write the pending records.

        Raises:
            LeaseLostError: we do not hold the app's lease any more.
        """
        if self.pending:
            self.record(ensure_lease)

    def say(self, step: StepName, said: str | BuildEvent) -> None:
        """Write to the deployment's log."""
        self.log.write(step, said)
