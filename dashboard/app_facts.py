"""An app's configuration as text: the basic settings, and all others that are not at their default.

Pure. Settings at their default are left out: the page shows how this app differs from others.
"""

import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from jobs.reads.views import AppView
from jobs.rules.app_fields import AppInput, default_of, field_names, shown
from jobs.states import DeployOn, Health

COMMAND = "command"
# Settings that are always listed, that the page shows elsewhere, or that it never shows.
ELSEWHERE = frozenset(
    {
        "name",
        "repository",
        "git_url",
        "token",
        "branch",
        "auto_deploy",
        "dockerfile",
        "context",
        "container_port",
        "host_port",
        "health",
        "health_path",
        "health_timeout_s",
    }
)


@dataclass(frozen=True)
class Fact:
    """One line of a settings list."""

    name: str
    words: str


def facts(app: AppView) -> list[Fact]:
    """Give the lines that describe an app's configuration."""
    return [*_always(app), *_chosen(app)]


def _always(app: AppView) -> list[Fact]:
    folder = "" if app.context == "." else f" in {app.context}"
    return [
        Fact("Repository", app.repository),
        Fact("Git URL", app.git_url),
        Fact("Token", "set for this repository" if app.token_set else "none of its own"),
        Fact("Branch", "none: only tags deploy" if app.deploy_on is DeployOn.TAGS else app.branch),
        Fact("Dockerfile", f"{app.dockerfile}{folder}"),
        Fact("Ports", f"{app.host_port} → {_port_inside(app)}"),
        Fact("Health check", _health(app)),
    ]


def _port_inside(app: AppView) -> str:
    if app.container_port is not None:
        return str(app.container_port)
    if app.live_container_port is not None:
        return f"{app.live_container_port} (from the image)"
    return "chosen by the image"


def _chosen(app: AppView) -> list[Fact]:
    told = {name: getattr(app, name) for name in field_names() if name not in ELSEWHERE}
    return [
        Fact(shown(name).label, _words(name, value))
        for name, value in told.items()
        if value != default_of(AppInput.model_fields[name])
    ]


def _health(app: AppView) -> str:
    match app.health:
        case Health.HTTP:
            return f"GET {app.health_path or '/'}, within {app.health_timeout_s} s"
        case Health.TCP:
            return f"TCP connection, within {app.health_timeout_s} s"
        case Health.NONE:
            return "none: the container only has to keep running"


def _words(name: str, value: Any) -> str:  # noqa: ANN401 — a field may be of any type
    """Give a setting's value as text with its unit; a choice's words come from its declaration."""
    look = shown(name)
    match value:
        case bool():
            words = "on" if value else "off"
        case StrEnum():
            words = look.words[value]
        case float():
            words = f"{value:g}"
        case Mapping():
            words = ", ".join(f"{key}={text}" for key, text in value.items())
        case [*values]:
            words = (shlex.join(values) if name == COMMAND else ", ".join(values)) or "none"
        case _:
            words = str(value)
    return f"{words} {look.unit}".rstrip()
