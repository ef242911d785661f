"""A row for every table, as a Keystone of any released schema may have them.

`fill` gives a database of an older schema the columns it knows. A table that is new in a release
gets a row here; a column that is new there gets a value.
"""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from pydantic import SecretStr
from sqlalchemy import Connection, MetaData, Table

from jobs.rules.variables import Variable
from jobs.storage.environments import seal_environment
from jobs.storage.vault import Vault, fingerprint

KEY = SecretStr("the key of the Keystone that is upgraded")
TOKEN = SecretStr("ghp_of-the-repository")
AT = datetime(2026, 11, 20, 8, 30, tzinfo=UTC)
SHA = "5" * 40
LIVE_CONTAINER = "c" * 64

Row = dict[str, Any]


# What an upgrade changes on purpose: an id that a delivery claimed proves nothing.
CHANGED_BY = "0005"
CHANGED: Mapping[str, Row] = {"repositories": {"github_id": None}}


def rows() -> dict[str, Row]:
    """Give one row of each table, by the table's name."""
    vault = Vault([KEY])
    return {
        "repositories": {
            "id": 1,
            "github_id": 186_853_002,
            "identity_from": None,
            "identity_checked_at": None,
            "identity_paused_until": None,
            "identity_due_at": None,
            "identity_problem": None,
            "is_name_claimed": False,
            "full_name": "Octo/Web",
            "name_key": "octo/web",
            "git_url": "https://github.com/Octo/Web.git",
            "token_problem": "it has expired",
            "token_problem_of": "fetch",
            "token_expires_at": AT,
            "created_at": AT,
        },
        "repository_secrets": {
            "id": 1,
            "repository_id": 1,
            "kind": "token",
            "sealed": vault.seal(TOKEN),
            "created_at": AT,
            "expires_at": None,
        },
        "apps": {
            "id": 7,
            "name": "web",
            "repository_id": 1,
            "branch": "live",
            "dockerfile": "Dockerfile",
            "context": "api",
            "container_port": 9000,
            "host_port": 20017,
            "health": "http",
            "health_path": "/up",
            "health_timeout_s": 45,
            "health_status": "200-299",
            "health_interval_s": 0.5,
            "health_successes": 2,
            "auto_deploy": False,
            "paused_reason": "rolled back to v2 by user:ada",
            "on_new_push": "replace",
            "watch_paths": ["api/**"],
            "tag_pattern": "v*",
            "skip_phrases": ["not now"],
            "build_target": "prod",
            "build_args": ["VERSION"],
            "build_secrets": ["NPM_TOKEN"],
            "build_timeout_s": 600,
            "memory_mb": 256,
            "cpus": 1.5,
            "command": ["./web", "--port", "9000"],
            "pids": 100,
            "capabilities": "none",
            "new_privileges": True,
            "init": False,
            "restart": "on-failure",
            "stop_signal": "SIGINT",
            "drain_timeout_s": 45,
            "stop_grace_s": 20,
            "volumes": ["data:/data"],
            "labels": {"team": "blue"},
            "keep_releases": 3,
            "push_rules": {},
            "build": {"context": "api"},
            "container": {"container_port": 9000},
            "created_at": AT,
            "configuration": 4,
            "last_deployment": 12,
            "last_release": 9,
            "last_fence": 40,
            "live_deployment_id": 31,
            "live_release_id": 5,
            "live_container_id": LIVE_CONTAINER,
            "live_address": "10.201.0.2:9000",
            "live_slot": "b",
            "trial_ends_at": AT,
            "live_ends": 1,
            "live_restarts": 1,
            "fallback_release_id": None,
            "fallback_container_id": None,
            "warm_until": None,
            "warm_address": None,
            "container_state": "running",
            "container_reason": "",
            "container_restarts": None,
        },
        "environment_variables": {
            "id": 1,
            "app_id": 7,
            "name": "API_KEY",
            "sealed": vault.seal(SecretStr("an api key")),
            "is_secret": True,
            "changed_at": AT,
        },
        "domains": {"id": 1, "app_id": 7, "name": "www.example.com", "created_at": AT},
        "certificates": {
            "id": 1,
            "domain": "www.example.com",
            "sealed": vault.seal(SecretStr("a certificate")),
            "not_before": None,
            "not_after": AT,
            "created_at": AT,
        },
        "blocked_ports": {"port": 20003, "seen_at": AT},
        "domain_ports": {"scheme": "https", "port": 443},
        "identity": {
            "id": 1,
            "name": "abcdef",
            "image_key": "f" * 64,
            "adopts_items": False,
        },
        "vault_keys": {"fingerprint": fingerprint(KEY), "created_at": AT},
        "vitals": {
            "id": 1,
            "at": AT,
            "workers": 2,
            "disk_free": 10**12,
            "disk_total": 2 * 10**12,
            "engine_free": None,
            "problems": {},
        },
        "catch_ups": {
            "repository_id": 1,
            "looked_at": AT,
            "way": None,
            "missed": 0,
            "found": "nothing",
            "problem": "",
            "settled_until": AT,
            "next_look_at": AT,
            "paused_until": None,
        },
        "branch_heads": {
            "app_id": 7,
            "ref": "refs/heads/live",
            "commit_sha": SHA,
            "seen_at": AT,
        },
        "deliveries": {
            "id": 3,
            "guid": "5c0f8b1e",
            "event": "push",
            "repository_id": 1,
            "body_sha256": "b" * 64,
            "outcome": "queued",
            "reason": "",
            "ref": "refs/heads/live",
            "commit_sha": SHA,
            "sender": "octocat",
            "received_at": AT,
        },
        "refused_deliveries": {
            "id": 1,
            "repository_id": 1,
            "claimed": "Octo/Web",
            "address": "192.0.2.7",
            "reason": "wrong_signature",
            "count": 3,
            "first_at": AT,
            "last_at": AT,
        },
        "refusal_counts": {"reason": "wrong_signature", "count": 3},
        "deployments": {
            "id": 31,
            "app_id": 7,
            "number": 12,
            "kind": "update",
            "trigger": "push",
            "state": "success",
            "reason": "",
            "ref": "refs/heads/live",
            "commit_sha": SHA,
            "commit_message": "Serve more\n\nMuch more.",
            "author": "Ada",
            "actor": "webhook:octocat",
            "actor_kind": "webhook",
            "actor_name": "octocat",
            "delivery_id": 3,
            "guid": "5c0f8b1e",
            "request_key": None,
            "body_sha256": "b" * 64,
            "before_sha": "4" * 40,
            "pushed_at": 1_763_600_000,
            "release_id": 5,
            "attempts": 1,
            "cancelled_by": None,
            "replaced_by": None,
            "recovers_id": None,
            "gives_way": False,
            "queued_at": AT,
            "started_at": AT,
            "ended_at": AT,
        },
        "releases": {
            "id": 5,
            "app_id": 7,
            "number": 9,
            "deployment_id": 31,
            "commit_sha": SHA,
            "image": "keystone-abcdef/web:555555555555-0123456789ab",
            "image_id": f"sha256:{'1' * 64}",
            "configuration": 4,
            "build": {"dockerfile": "Dockerfile", "context": "api"},
            "container": {"container_port": 9000},
            "environment": seal_environment({"API_KEY": Variable(SecretStr("an api key"))}, vault),
            "created_at": AT,
        },
        "steps": {
            "id": 1,
            "deployment_id": 31,
            "name": "retire",
            "state": "success",
            "reason": "",
            "started_at": AT,
            "ended_at": AT,
        },
        "leases": {
            "app_id": 7,
            "deployment_id": 31,
            "holder": "host:1",
            "fence": 40,
            "expires_at": AT,
        },
        "commit_statuses": {
            "id": 1,
            "deployment_id": 31,
            "state": "success",
            "description": "Deployment #12: live",
            "created_at": AT,
            "attempts": 1,
            "next_attempt_at": None,
            "posted_at": AT,
            "error": "",
        },
        "engine_items": {
            "kind": "container",
            "name": "keystone-abcdef-web-31",
            "app": "web",
            "engine_id": LIVE_CONTAINER,
            "made_at": AT,
        },
        "audit_events": {
            "id": 1,
            "at": AT,
            "tag": "app.created",
            "actor": "user:ada",
            "actor_kind": "user",
            "actor_name": "ada",
            "target": "app:web",
            "address": "192.0.2.7",
            "details": {"repository": "Octo/Web"},
        },
        "users": {
            "id": 1,
            "name": "ada",
            "role": "admin",
            "password_hash": "argon2",
            "disabled_at": None,
            "created_at": AT,
        },
        "login_sessions": {
            "id": 1,
            "hashed": "d" * 64,
            "user_id": 1,
            "csrf_token": "csrf",
            "created_at": AT,
            "last_seen_at": AT,
            "address": "192.0.2.7",
        },
        "api_tokens": {
            "id": 1,
            "name": "ci",
            "hashed": "e" * 64,
            "role": "deployer",
            "created_by": "user:ada",
            "created_at": AT,
            "expires_at": None,
            "last_used_at": AT,
            "revoked_at": None,
        },
    }


def fill(connection: Connection) -> dict[str, Row]:
    """Put a row into every table of a database; give what was put there, by table."""
    tables = MetaData()
    tables.reflect(connection, resolve_fks=False)
    known, put = rows(), {}
    for table in tables.sorted_tables:
        if table.name not in {"alembic_version", "schema_use"}:
            put[table.name] = _known_columns(table, known[table.name])
            connection.execute(table.insert().values(put[table.name]))
    return put


def _known_columns(table: Table, row: Row) -> Row:
    missing = {column.name for column in table.columns} - row.keys()
    assert not missing, f"a value is needed for {sorted(missing)} of {table.name}"
    return {column.name: row[column.name] for column in table.columns}
