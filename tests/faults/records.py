"""What Keystone has written down, read from its database file by somebody who knows its tables."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

PATIENCE_S = 60.0


@dataclass(frozen=True)
class Row:
    """One deployment as it stands."""

    id: int
    app: str
    state: str
    reason: str
    commit_sha: str
    attempts: int
    spans: tuple[tuple[str, str], ...]  # when its steps began and ended; "" has not ended
    trigger: str = "push"


@dataclass(frozen=True)
class Live:
    """What serves an app."""

    commit_sha: str
    container_id: str


class Records:
    """Reads the database and cannot write to it. Any thread may ask."""

    def __init__(self, file: Path) -> None:
        self._file = file

    @contextmanager
    def open(self) -> Iterator[sqlite3.Connection]:
        """Give a connection of the block's own."""
        url = f"file:{self._file}?mode=ro"
        with closing(sqlite3.connect(url, uri=True, timeout=PATIENCE_S)) as connection:
            yield connection

    def last_deployment(self) -> int:
        """Give the highest id of a deployment, or 0."""
        with self.open() as database:
            (found,) = database.execute("SELECT coalesce(max(id), 0) FROM deployments").fetchone()
            return int(found)

    def deployments(self, *, after: int) -> list[Row]:
        """List the deployments with higher ids than that, oldest first."""
        with self.open() as database:
            rows = database.execute(
                'SELECT d.id, a.name, d.state, d.reason, d.commit_sha, d.attempts, d."trigger" '
                "FROM deployments d JOIN apps a ON a.id = d.app_id WHERE d.id > ? ORDER BY d.id",
                (after,),
            ).fetchall()
            return [
                Row(number, app, state, reason, sha, attempts, self._spans(database, number), why)
                for number, app, state, reason, sha, attempts, why in rows
            ]

    def _spans(self, database: sqlite3.Connection, deployment: int) -> tuple[tuple[str, str], ...]:
        found = database.execute(
            "SELECT started_at, coalesce(ended_at, '') FROM steps WHERE deployment_id = ?",
            (deployment,),
        )
        return tuple((str(begun), str(ended)) for begun, ended in found.fetchall())

    def unsettled(self, *, after: int) -> int:
        """Count what is under way or live of the deployments with higher ids than that.

        A recovery that has succeeded is as things should be; and so is what another release has
        taken the place of before it could fail.
        """
        with self.open() as database:
            (found,) = database.execute(
                "SELECT count(*) FROM deployments d JOIN apps a ON a.id = d.app_id "
                "WHERE d.id > ? AND (d.state IN ('queued', 'running') "
                "OR (a.live_deployment_id = d.id AND d.\"trigger\" <> 'recovery'))",
                (after,),
            ).fetchone()
            return int(found)

    def recoveries(self, *, after: int) -> int:
        """Count the recoveries with higher ids than that."""
        with self.open() as database:
            (found,) = database.execute(
                "SELECT count(*) FROM deployments WHERE id > ? AND \"trigger\" = 'recovery'",
                (after,),
            ).fetchone()
            return int(found)

    def kept(self) -> set[str]:
        """Give the containers that are kept, stopped, to go back to."""
        with self.open() as database:
            rows = database.execute(
                "SELECT fallback_container_id FROM apps WHERE fallback_container_id IS NOT NULL"
            )
            return {container for (container,) in rows.fetchall()}

    def live(self) -> dict[str, Live]:
        """Give what serves, by the app's name."""
        with self.open() as database:
            rows = database.execute(
                "SELECT a.name, r.commit_sha, a.live_container_id FROM apps a "
                "JOIN releases r ON r.id = a.live_release_id"
            )
            return {name: Live(sha, container) for name, sha, container in rows.fetchall()}

    def holders(self) -> dict[str, int]:
        """Give the process that holds each app's lease."""
        with self.open() as database:
            rows = database.execute(
                "SELECT a.name, l.holder FROM leases l JOIN apps a ON a.id = l.app_id"
            ).fetchall()
        return {name: pid for name, holder in rows if (pid := _pid(holder))}

    def leases(self) -> list[str]:
        """Name the apps that somebody holds."""
        with self.open() as database:
            rows = database.execute("SELECT a.name FROM leases l JOIN apps a ON a.id = l.app_id")
            return sorted(name for (name,) in rows.fetchall())

    def images(self) -> set[str]:
        """Give every image tag that a release names."""
        with self.open() as database:
            return {tag for (tag,) in database.execute("SELECT DISTINCT image FROM releases")}

    def unposted(self) -> int:
        """Count the commit statuses that GitHub has still to be told of."""
        with self.open() as database:
            (found,) = database.execute(
                "SELECT count(*) FROM commit_statuses WHERE next_attempt_at IS NOT NULL"
            ).fetchone()
            return int(found)


def _pid(holder: str) -> int:
    """Read the process id from a holder's name; 0 when it has none."""
    last = holder.rpartition(":")[2]
    return int(last) if last.isdecimal() else 0
