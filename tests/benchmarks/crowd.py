"""Writes years of history in a minute: millions of rows, by plain SQL, into an SQLite file.

The SQL uses the schema's column names and does not call `jobs.records`, which would take hours for
a million rows. The benchmark measures the pages, so the values have realistic types and lengths.
"""

import sqlite3
from dataclasses import dataclass
from pathlib import Path

SERIES = "WITH RECURSIVE series(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM series WHERE n < {})"
# One deployment every 90 s, the last one just now; fixed lengths, as SQLAlchemy writes them.
MOMENT = "strftime('%Y-%m-%d %H:%M:%S.000000', 'now', ((n - {last}) * 90 + {plus}) || ' seconds')"
SHA = "lower(hex(randomblob(20)))"

REPOSITORIES = """
INSERT INTO repositories (id, full_name, name_key, git_url, token_problem, created_at)
SELECT n, 'octo/repository-' || n, 'octo/repository-' || n,
       'https://github.com/octo/repository-' || n || '.git',
       CASE WHEN n % 97 = 0 THEN 'GitHub refuses the token (401)' END, {now}
FROM series
"""
CATCH_UPS = """
INSERT INTO catch_ups (
    repository_id, looked_at, way, missed, found, problem, settled_until, next_look_at)
SELECT n, {now}, CASE WHEN n % 2 = 0 THEN 'deliveries' ELSE 'branch_head' END,
       CASE WHEN n % 250 = 0 THEN 2 ELSE 0 END,
       CASE WHEN n % 250 = 0 THEN '#2 is queued' ELSE '' END, '', {now}, {now}
FROM series
"""
APPS = """
INSERT INTO apps (
    id, name, repository_id, branch, host_port, auto_deploy, paused_reason, created_at,
    configuration, last_deployment, last_release, last_fence, live_deployment_id, live_release_id,
    live_container_id, live_address, live_slot, container_state, container_reason)
SELECT n, printf('app-%03d', n), n, 'main', 20000 + n, n % 50 <> 3,
       CASE WHEN n % 50 = 3 THEN 'rolled back to v3 by user:ada' ELSE '' END, {now}, 1, {each}, 1,
       {each}, {total} - {apps} + n, {apps} * ({kept} - 1) + n, printf('%064x', n),
       '10.201.0.2:8000', 'a', CASE WHEN n % 100 = 7 THEN 'exited' ELSE 'running' END,
       CASE WHEN n % 100 = 7 THEN 'its container exited with code 137' ELSE '' END
FROM series
"""
# The apps take turns, as real apps would; the last turn is live.
DEPLOYMENTS = """
INSERT INTO deployments (
    id, app_id, number, kind, "trigger", state, reason, ref, commit_sha, commit_message, author,
    actor_kind, actor_name, delivery_id, guid, body_sha256, pushed_at, release_id, attempts,
    queued_at, started_at, ended_at)
SELECT n, (n - 1) % {apps} + 1, (n - 1) / {apps} + 1, 'update',
       CASE WHEN n % 9 = 0 THEN 'manual' ELSE 'push' END,
       CASE WHEN n > {total} - {apps} THEN 'success' WHEN n % 13 = 0 THEN 'failure'
            WHEN n % 29 = 0 THEN 'superseded' WHEN n % 53 = 0 THEN 'error' ELSE 'success' END,
       CASE WHEN n % 13 = 0 THEN 'the build failed: exit code 1' ELSE '' END, 'refs/heads/main',
       {sha}, 'Change number ' || n || ' of the page that shows prices with and without tax',
       CASE n % 4 WHEN 0 THEN 'Ada Lovelace' WHEN 1 THEN 'Grace Hopper' ELSE 'Linus Ek' END,
       'webhook', 'ada', n, {sha}, {sha}, 1700000000 + n,
       CASE WHEN n > {total} - {apps} * {kept} THEN n - {total} + {apps} * {kept} END, 1, {at},
       {started}, {ended}
FROM series
"""
WORK_NOW = """
UPDATE deployments SET state = 'running', ended_at = NULL WHERE id > {total} - 2
"""
RELEASES = """
INSERT INTO releases (id, app_id, number, deployment_id, commit_sha, image, image_id,
                      configuration, build, container, environment, created_at)
SELECT n, (n - 1) % {apps} + 1, (n - 1) / {apps} + 1, {total} - {apps} * {kept} + n, {sha},
       'keystone/app:1', 'sha256:1', 1, '{{}}', '{{}}', randomblob(1000), {now}
FROM series
"""
DELIVERIES = """
INSERT INTO deliveries (id, guid, event, repository_id, body_sha256, outcome, reason, ref,
                        commit_sha, sender, received_at)
SELECT n, {sha}, CASE WHEN n % 997 = 0 THEN 'ping' ELSE 'push' END, (n - 1) % {apps} + 1, {sha},
       CASE WHEN n % 7 = 0 THEN 'ignored' ELSE 'queued' END,
       CASE WHEN n % 7 = 0 THEN 'app deploys main, not feature/login' ELSE '' END,
       'refs/heads/main', {sha}, 'ada', {at}
FROM series
"""
STEPS = """
INSERT INTO steps (deployment_id, name, state, reason, started_at, ended_at)
SELECT {total} - n / 7,
       CASE n % 7 WHEN 0 THEN 'checkout' WHEN 1 THEN 'build' WHEN 2 THEN 'release'
            WHEN 3 THEN 'start' WHEN 4 THEN 'health_check' WHEN 5 THEN 'switch' ELSE 'retire' END,
       'success', '', {now}, {now}
FROM series WHERE n / 7 < {total}
"""
AUDIT = """
INSERT INTO audit_events (id, at, tag, actor_kind, actor_name, target, address, details)
SELECT n, {at}, CASE n % 5 WHEN 0 THEN 'login.succeeded' WHEN 1 THEN 'app.changed'
                ELSE 'deployment.requested' END,
       CASE WHEN n % 3 = 0 THEN 'user' ELSE 'webhook' END, 'ada',
       'deployment:' || ({total} - n), '203.0.113.7', '{{"app": "app-001", "trigger": "push"}}'
FROM series
"""


@dataclass(frozen=True)
class Crowd:
    """How many rows of each kind to write."""

    apps: int = 500
    deployments: int = 1_000_000
    releases: int = 100  # per app; the last one is live
    deliveries: int = 1_000_000
    steps: int = 1_000_000
    audit_events: int = 200_000


def fill(database: Path, crowd: Crowd) -> None:
    """Fill an empty database that has the schema; a million deployments take about a minute."""
    connection = sqlite3.connect(database, isolation_level=None)
    try:
        # The data is not needed after the benchmark, so no write waits for the disk.
        connection.execute("PRAGMA synchronous = OFF")
        connection.execute("PRAGMA cache_size = -400000")
        connection.execute("BEGIN")
        for statement, count in _statements(crowd):
            _insert(connection, statement, count, crowd)
        connection.execute(WORK_NOW.format(total=crowd.deployments))
        connection.execute("COMMIT")
    finally:
        connection.close()


def _statements(crowd: Crowd) -> list[tuple[str, int]]:
    return [
        (REPOSITORIES, crowd.apps),
        (CATCH_UPS, crowd.apps),
        (APPS, crowd.apps),
        (DELIVERIES, crowd.deliveries),
        (RELEASES, crowd.apps * crowd.releases),
        (DEPLOYMENTS, crowd.deployments),
        (STEPS, crowd.steps),
        (AUDIT, crowd.audit_events),
    ]


def _insert(connection: sqlite3.Connection, statement: str, count: int, crowd: Crowd) -> None:
    words = {
        "now": MOMENT.format(last="n", plus=0),
        "at": MOMENT.format(last=count, plus=-60),
        "started": MOMENT.format(last=count, plus=-58),
        "ended": MOMENT.format(last=count, plus="abs(random()) % 55 - 57"),
        "sha": SHA,
        "apps": crowd.apps,
        "kept": crowd.releases,
        "each": crowd.deployments // crowd.apps,
        "total": crowd.deployments,
    }
    # Only our own numbers, no user input: nothing needs escaping.
    connection.execute(f"{SERIES.format(count)} {statement.format(**words)}")
