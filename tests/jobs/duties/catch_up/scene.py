"""A Keystone that pushes do not reach, and a GitHub that knows of them."""

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from sqlmodel import select

from jobs.duties.catch_up.duty import CatchingUp
from jobs.duties.catch_up.look import Means
from jobs.reads.apps import webhook_url
from jobs.rules.missed_pushes import in_words
from jobs.rules.repository_values import Hook
from jobs.states import Trigger
from jobs.storage.models import App, AuditEvent, BranchHead, CatchUp, Delivery, Deployment, now
from tests.jobs.bench import Bench

MAIN = "refs/heads/main"
GITHUB_ID = 99
SECOND = 1_800_000_000  # GitHub's clock


def payload(
    sha: str,
    *,
    before: str = "0" * 40,
    ref: str = MAIN,
    pushed_at: int = SECOND,
    **changes: Any,  # noqa: ANN401 — whatever JSON can say
) -> dict[str, Any]:
    """Say what GitHub says of a push."""
    return {
        "ref": ref,
        "before": before,
        "after": sha,
        "created": False,
        "deleted": False,
        "forced": False,
        "repository": {"id": GITHUB_ID, "full_name": "octo/web", "pushed_at": pushed_at},
        "head_commit": {"id": sha, "message": "Change something", "author": {"name": "Ada"}},
        "commits": [],
        "sender": {"login": "octocat"},
        **changes,
    }


def said(row: CatchUp) -> str:
    """Say what a look found, as the API says it."""
    return in_words(row.missed, row.found)


@dataclass
class Scene:
    """What a story about missed pushes is told with."""

    bench: Bench
    pauses: list[float] = field(default_factory=list)

    def __post_init__(self) -> None:
        world = self.bench.world
        self.means = Means(self.bench.runtime, world.forge, world.source, self.pauses.append)
        self.duty = CatchingUp(self.means)
        self.seconds = SECOND

    # --- Doing -------------------------------------------------------------------------------

    def hooked(self, repository: str = "octo/web") -> None:
        """Have a webhook that the token may see."""
        url = webhook_url(self.bench.runtime.settings)
        self.bench.world.forge.hooks[repository] = Hook(41, url)

    def miss(
        self,
        guid: str,
        sha: str,
        *,
        status_code: int = 502,
        ago: timedelta = timedelta(0),
        **changes: Any,  # noqa: ANN401 — of the payload
    ) -> None:
        """Have GitHub fail to deliver a push, a second after the one before it."""
        self.seconds += 1
        told = payload(sha, **{"pushed_at": self.seconds, **changes})
        self.attempt(guid, told, status_code=status_code, at=now() - ago)

    def attempt(
        self, guid: str, told: object, *, status_code: int = 502, at: datetime | None = None
    ) -> None:
        """Have GitHub try to deliver something."""
        self.bench.world.forge.attempt(guid, told, status_code=status_code, at=at)

    def look(self) -> CatchUp:
        """Have the repository's turn come, and give what is written down of it."""
        with self.bench.writing() as session:
            for row in session.exec(select(CatchUp)).all():
                row.next_look_at = row.paused_until = None
        assert self.duty(), "it was nobody's turn"
        return self.row()

    # --- Looking -----------------------------------------------------------------------------

    def row(self) -> CatchUp:
        """Read what is known of the only repository."""
        with self.bench.reading() as session:
            return session.exec(select(CatchUp)).one()

    def caught_up(self, app: App) -> list[Deployment]:
        """Give the deployments of an app that caught up on something."""
        with self.bench.reading() as session:
            statement = select(Deployment).where(
                Deployment.app_id == app.id, Deployment.trigger == Trigger.CATCH_UP
            )
            return list(session.exec(statement).all())

    def deliveries(self) -> list[Delivery]:
        """Read every delivery on record."""
        with self.bench.reading() as session:
            return list(session.exec(select(Delivery).order_by(Delivery.guid)).all())

    def head(self, app: App) -> str | None:
        """Give where an app's branch was seen last."""
        with self.bench.reading() as session:
            row = session.get(BranchHead, app.id)
            return row.commit_sha if row else None

    def audit(self, tag: str) -> list[AuditEvent]:
        """Read the audit events of a kind."""
        with self.bench.reading() as session:
            return list(session.exec(select(AuditEvent).where(AuditEvent.tag == tag)).all())
