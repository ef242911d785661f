"""Every field of an app as the settings pages group and name it. Pure.

Hints and starting values are the API's own: `AppChange` says them, and nothing is said twice.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from dashboard.forms import Field, Kind, text_of
from jobs.rules.app_fields import AppChange, AppInput
from jobs.states import Capabilities, Health, OnNewPush, Restart

# What each word of a choice means, by the field.
CHOICES: Mapping[str, Mapping[StrEnum, str]] = {
    "health": {
        Health.HTTP: "HTTP: it answers a GET",
        Health.TCP: "TCP: it accepts connections",
        Health.NONE: "None: it keeps running",
    },
    "on_new_push": {
        OnNewPush.WAIT: "It waits, and is deployed next",
        OnNewPush.REPLACE: "It takes the running one's place",
    },
    "capabilities": {
        Capabilities.DEFAULT: "What ordinary images need",
        Capabilities.NONE: "None",
    },
    "restart": {
        Restart.ALWAYS: "Always",
        Restart.ON_FAILURE: "When it failed",
        Restart.NEVER: "Never",
    },
}


@dataclass(frozen=True)
class Section:
    """Fields that belong together."""

    title: str
    fields: Sequence[Field]


def _for_people(description: str) -> str:
    return description.replace("null:", "empty:").replace("Null:", "Empty:")


def _field(name: str, label: str, kind: Kind = Kind.LINE, hint: str = "") -> Field:
    known = AppInput.model_fields[name]
    is_required = known.is_required()
    choices = CHOICES.get(name, {})
    return Field(
        name,
        label,
        Kind.CHOICE if choices else kind,
        hint=hint or _for_people(known.description or ""),
        may_be_none=not is_required and known.default is None,
        choices=[(word.value, said) for word, said in choices.items()],
        start="" if is_required else text_of(known.default),
    )


NUMBER, LIST, SWITCH = Kind.NUMBER, Kind.LIST, Kind.SWITCH

NAME = _field("name", "Name")
REPOSITORY = _field("repository", "Repository")
BRANCH = _field("branch", "Branch")
TOKEN = _field(
    "token",
    "Token",
    Kind.SECRET,
    "The repository's, from GitHub: Contents: read, Commit statuses: read and write. Write-only",
)
DOMAINS = _field(
    "domains", "Domains", LIST, f"{AppChange.model_fields['domains'].description}. One a line"
)
HOST_PORT = _field("host_port", "Public port", NUMBER)
GIT_URL = _field(
    "git_url",
    "Git URL",
    hint="Empty: GitHub's https URL. On another server the token is taken away",
)

SECTIONS = (
    Section(
        "Source",
        (
            GIT_URL,
            BRANCH,
            _field("watch_paths", "Watched paths", LIST),
            _field("tag_pattern", "Tags"),
        ),
    ),
    Section(
        "Build",
        (
            _field("context", "Context"),
            _field("dockerfile", "Dockerfile"),
            _field("build_target", "Target stage"),
            _field("build_timeout_s", "Time limit (s)", NUMBER),
            _field("build_args", "Build arguments", LIST),
            _field("build_secrets", "Build secrets", LIST),
        ),
    ),
    Section(
        "Health check",
        (
            _field("health", "Check"),
            _field("health_path", "Path"),
            _field("health_status", "Healthy statuses"),
            _field("health_timeout_s", "Time limit (s)", NUMBER),
            _field("health_interval_s", "Interval (s)", NUMBER),
            _field("health_successes", "Successes in a row", NUMBER),
        ),
    ),
    Section(
        "Container",
        (
            _field("container_port", "Port inside", NUMBER),
            _field("memory_mb", "Memory (MB)", NUMBER),
            _field("cpus", "CPUs", NUMBER),
            _field("pids", "Processes", NUMBER),
            _field("restart", "Restart"),
            _field("capabilities", "Capabilities"),
            _field("new_privileges", "Programs may gain privileges", SWITCH),
            _field("init", "Docker's init", SWITCH),
            _field("drain_timeout_s", "Time to drain (s)", NUMBER),
            _field("stop_signal", "Stop signal"),
            _field("stop_grace_s", "Time to stop (s)", NUMBER),
            _field(
                "command",
                "Command",
                LIST,
                "One argument a line; one of several lines as a JSON string in double quotes. "
                "Empty: the image's own",
            ),
            _field("volumes", "Volumes", LIST),
            _field(
                "labels", "Labels", Kind.PAIRS, "As name=value, one a line; Keystone's own aside"
            ),
        ),
    ),
    Section(
        "Deploying",
        (
            _field("auto_deploy", "Deploy pushes by themselves", SWITCH, "Off: only by hand"),
            _field("on_new_push", "A push while another is deployed"),
            _field("skip_phrases", "Phrases that skip", LIST),
            _field("keep_releases", "Releases kept", NUMBER),
        ),
    ),
)
CONFIGURATION = tuple(one for section in SECTIONS for one in section.fields)
FIRST = (NAME, REPOSITORY, BRANCH, TOKEN)
REST = tuple(
    Section(section.title, [one for one in section.fields if one not in FIRST])
    for section in (*SECTIONS, Section("Addresses", (HOST_PORT, DOMAINS)))
)
NEW_APP = (*FIRST, *(one for section in REST for one in section.fields))
