"""An app's configuration as people read it: what is always told, and what they chose themselves.

Pure. A setting that is as it comes is not told: the page shows what makes this app different.
"""

import shlex
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from jobs.reads.views import AppView
from jobs.rules.app_fields import AppChange
from jobs.states import Health, OnNewPush


@dataclass(frozen=True)
class Fact:
    """One line of a settings list."""

    name: str
    words: str


def facts(app: AppView) -> list[Fact]:
    """Give what there is to know of an app's configuration."""
    return [*_always(app), *_chosen(app)]


def _always(app: AppView) -> list[Fact]:
    folder = "" if app.context == "." else f" in {app.context}"
    return [
        Fact("Repository", app.repository),
        Fact("Git URL", app.git_url),
        Fact("Token", "set for this repository" if app.token_set else "none of its own"),
        Fact("Branch", app.branch),
        Fact("Dockerfile", f"{app.dockerfile}{folder}"),
        Fact("Ports", f"{app.host_port} → {app.container_port}"),
        Fact("Health check", _health(app)),
    ]


def _chosen(app: AppView) -> list[Fact]:
    told = app.model_dump(include=set(CHOICES))
    return [
        Fact(name, words(told[field]))
        for field, (name, words) in CHOICES.items()
        if told[field] != AppChange.model_fields[field].default
    ]


def _health(app: AppView) -> str:
    match app.health:
        case Health.HTTP:
            return f"GET {app.health_path or '/'}, within {app.health_timeout_s} s"
        case Health.TCP:
            return f"TCP connection, within {app.health_timeout_s} s"
        case Health.NONE:
            return "none: the container only has to keep running"


def _listed(values: list[str]) -> str:
    return ", ".join(values) or "none"


def _pairs(values: Mapping[str, str]) -> str:
    return ", ".join(f"{name}={value}" for name, value in values.items())


def _seconds(value: float) -> str:
    return f"{value:g} s"


def _allowed(value: bool) -> str:  # noqa: FBT001 — called with the field's value
    return "allowed" if value else "not allowed"


def _on(value: bool) -> str:  # noqa: FBT001
    return "on" if value else "off"


def _new_push(value: OnNewPush) -> str:
    match value:
        case OnNewPush.WAIT:
            return "waits for the running deployment"
        case OnNewPush.REPLACE:
            return "replaces the running deployment"


# The fields of `AppChange` that are told when they differ from their default, in this order.
CHOICES: dict[str, tuple[str, Callable[[Any], str]]] = {
    "domains": ("Domains", _listed),
    "on_new_push": ("A newer push", _new_push),
    "watch_paths": ("Watched paths", _listed),
    "tag_pattern": ("Tags that deploy", str),
    "skip_phrases": ("Skipped when it says", _listed),
    "build_target": ("Build target", str),
    "build_args": ("Build arguments", _listed),
    "build_secrets": ("Build secrets", _listed),
    "build_timeout_s": ("Build timeout", _seconds),
    "health_status": ("Healthy statuses", str),
    "health_interval_s": ("Health interval", _seconds),
    "health_successes": ("Healthy looks in a row", str),
    "command": ("Command", shlex.join),
    "memory_mb": ("Memory", "{} MB".format),
    "cpus": ("CPUs", "{:g}".format),
    "pids": ("Processes, at most", str),
    "capabilities": ("Capabilities", str),
    "new_privileges": ("Gaining privileges", _allowed),
    "init": ("Docker's init", _on),
    "restart": ("Restarted", str),
    "drain_timeout_s": ("Time to drain", _seconds),
    "stop_signal": ("Stop signal", str),
    "stop_grace_s": ("Time to stop", _seconds),
    "volumes": ("Volumes", _listed),
    "labels": ("Labels", _pairs),
    "keep_releases": ("Releases kept", str),
}
