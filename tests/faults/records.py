"""Reads Keystone's records directly from the tables of its database file."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

PATIENCE_S = 60.0


@dataclass(frozen=True)
class Row:
    """The present state of one deployment."""

    id: int
    app: str
    state: str
    reason: str
    commit_sha: str
    attempts: int
    spans: tuple[tuple[str, str], ...]  # start and end of its steps; "" means not ended
    trigger: str = "push"


@dataclass(frozen=True)
class Live:
    """The live commit and container of an app."""

    commit_sha: str
    container_id: str


class Records:
    """Reads the database and cannot write to it; safe for all threads."""

    def __init__(self, file: Path) -> None:
        self._file = file

    @contextmanager
    def open(self) -> Iterator[sqlite3.Connection]:
        """Open a connection for the length of the block."""
        url = f"file:{self._file}?mode=ro"
        with closing(sqlite3.connect(url, uri=True, timeout=PATIENCE_S)) as connection:
            yield connection

    def last_deployment(self) -> int:
        """Give the highest deployment id, or 0."""
        with self.open() as database:
            (found,) = database.execute("SELECT coalesce(max(id), 0) FROM deployments").fetchone()
            return int(found)

    def deployments(self, *, after: int) -> list[Row]:
        """List the deployments with higher ids than `after`, oldest first."""
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
        """Count the open and live deployments with higher ids than `after`.

        A successful recovery does not count, because it is a proper end. Neither does a
        deployment that another release replaced before it could fail.
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
        """Count the recoveries with higher ids than `after`."""
        with self.open() as database:
            (found,) = database.execute(
                "SELECT count(*) FROM deployments WHERE id > ? AND \"trigger\" = 'recovery'",
                (after,),
            ).fetchone()
            return int(found)

    def kept(self) -> set[str]:
        """Give the stopped containers that Keystone keeps for a recovery."""
        with self.open() as database:
            rows = database.execute(
                "SELECT fallback_container_id FROM apps WHERE fallback_container_id IS NOT NULL"
            )
            return {container for (container,) in rows.fetchall()}

    def live(self) -> dict[str, Live]:
        """Give the live commit and container by app name."""
        with self.open() as database:
            rows = database.execute(
                "SELECT a.name, r.commit_sha, a.live_container_id FROM apps a "
                "JOIN releases r ON r.id = a.live_release_id"
            )
            return {name: Live(sha, container) for name, sha, container in rows.fetchall()}

    def holders(self) -> dict[str, int]:
        """Give the id of the process that holds each app's lease."""
        with self.open() as database:
            rows = database.execute(
                "SELECT a.name, l.holder FROM leases l JOIN apps a ON a.id = l.app_id"
            ).fetchall()
        return {name: pid for name, holder in rows if (pid := _pid(holder))}

    def leases(self) -> list[str]:
        """Name the apps with a held lease."""
        with self.open() as database:
            rows = database.execute("SELECT a.name FROM leases l JOIN apps a ON a.id = l.app_id")
            return sorted(name for (name,) in rows.fetchall())

    def images(self) -> set[str]:
        """Give the image tags of all releases."""
        with self.open() as database:
            return {tag for (tag,) in database.execute("SELECT DISTINCT image FROM releases")}

    def unposted(self) -> int:
        """Count the commit statuses that Keystone has not yet sent to GitHub."""
        with self.open() as database:
            (found,) = database.execute(
                "SELECT count(*) FROM commit_statuses WHERE next_attempt_at IS NOT NULL"
            ).fetchone()
            return int(found)


def _pid(holder: str) -> int:
    """Read the process id from a holder's name; 0 if the name has none."""
    last = holder.rpartition(":")[2]
    return int(last) if last.isdecimal() else 0
