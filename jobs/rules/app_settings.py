"""An app's settings. Each one is declared once, here; all other code derives from it. Pure.

The declaration of a field gives its type and bounds, its default, its description (shown by the API
and the command line) and a `Shown`, which says how pages show it. Derived from these are the API's
input and responses, the options of the command line, the keys of an apps file, the forms and facts
of the pages, the audit trail, the columns of the database, and the settings that a release keeps.

To add a container setting, declare it in `ContainerSettings`, translate it for the engine in
`jobs.adapters.docker.values`, and add a line to the README. Renaming a field needs a migration as
well. A narrowed bound holds for new values only: apps and releases keep those they have.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from functools import cache
from types import UnionType
from typing import Annotated, Any, Self, Union, cast, get_args, get_origin

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    create_model,
)

from jobs.rules.field_types import (
    MOST_LABELS,
    Argument,
    AssetPath,
    HealthHost,
    HealthPath,
    LabelName,
    Many,
    PathInside,
    PathPatterns,
    Phrase,
    Port,
    Said,
    Signal,
    StatusRange,
    TagPatterns,
    Ulimit,
    VariableName,
    Volume,
    Word,
    each_limit_once,
    few,
)
from jobs.states import Capabilities, DeployOn, Health, OnNewPush, Restart

OK_OR_REDIRECT = range(200, 400)
EVERY_TAG = "**"

# The port of an app that sets none, and whose image EXPOSEs none.
DEFAULT_PORT = 8000

# Without a configured path any answer proves that the app is running, including 401 and 404.
BELOW_500 = range(200, 500)


class Section(StrEnum):
    """The groups of fields on pages, in this order."""

    APP = "App"
    SOURCE = "Source"
    BUILD = "Build"
    HEALTH = "Health check"
    CONTAINER = "Container"
    DEPLOYING = "Deploying"
    ADDRESSES = "Addresses"


@dataclass(frozen=True)
class Shown:
    """How pages show a field.

    Attributes:
        label: the field's name; clear without the section's title.
        unit: the unit of a number, such as s or MB.
        hint: text shown beside the field instead of its description.
        words: for a choice, the meaning of each word.
        is_release: whether a release keeps the field, so a change takes effect with the next one.
    """

    section: Section
    label: str
    unit: str = ""
    hint: str = ""
    words: Mapping[StrEnum, str] = field(default_factory=dict)
    is_release: bool = True


class Settings(BaseModel):
    """A group of an app's settings that is stored and passed as one value."""

    # Fields written by a later version are ignored, so that a downgrade to this version works.
    model_config = ConfigDict(frozen=True, extra="ignore", hide_input_in_errors=True)

    @classmethod
    def kept(cls, values: Mapping[str, object]) -> Self:
        """Read stored settings, which were validated when they were set.

        Missing fields get their defaults. Values are converted to their types, but bounds are not
        checked again: if a later version narrows a bound, it must still show, roll back to and
        correct the values that an earlier version accepted.
        """
        return cast(
            "Self", cls.model_construct(**dict(_without_bounds(cls).model_validate(values)))
        )


@cache
def _without_bounds(kind: type[Settings]) -> type[BaseModel]:
    """Make a model of the same fields that checks only their types."""
    fields: dict[str, Any] = {
        name: (without_metadata(field.annotation), field.default)
        for name, field in kind.model_fields.items()
    }
    return create_model(f"Kept{kind.__name__}", **fields)


def without_metadata(annotation: Any) -> Any:  # noqa: ANN401 — a type, or an alias of one
    """Remove the metadata from an annotation and from its parts."""
    origin, parts = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return without_metadata(parts[0])
    if origin in {Union, UnionType}:
        return Union[tuple(map(without_metadata, parts))]  # noqa: UP007 — made of a list
    return origin[tuple(map(without_metadata, parts))] if origin else annotation


class PushRules(Settings):
    """Which pushes are deployed, and when."""

    watch_paths: Annotated[PathPatterns, Shown(Section.SOURCE, "Watched paths")] = Field(
        (),
        max_length=100,
        description="A push that touches none of them is not deployed, like api/**, docs/*.md or "
        "!**/*.test.js; patterns as in GitHub Actions",
    )
    tag_pattern: Annotated[TagPatterns | None, Shown(Section.SOURCE, "Tags that deploy")] = Field(
        None,
        description="Tags that deploy, like v* or v[0-9]+.*,!*-rc*; null: none",
    )
    deploy_on: Annotated[
        Said[DeployOn],
        Shown(
            Section.SOURCE,
            "Deploys",
            words={
                DeployOn.BRANCH: "pushes to the branch, and tags if there is a pattern for them",
                DeployOn.TAGS: "tags only",
            },
        ),
    ] = Field(
        DeployOn.BRANCH,
        description="branch: pushes to the branch deploy, and tags that match the tag pattern; "
        "tags: only tags that match it deploy, or all tags if there is no pattern",
    )
    on_new_push: Annotated[
        Said[OnNewPush],
        Shown(
            Section.DEPLOYING,
            "A newer push",
            words={
                OnNewPush.WAIT: "waits for the running deployment",
                OnNewPush.REPLACE: "replaces the running deployment",
            },
        ),
    ] = Field(
        OnNewPush.WAIT, description="Whether a newer push waits for a running one or replaces it"
    )
    skip_phrases: Annotated[Many[Phrase], Shown(Section.DEPLOYING, "Phrases that skip")] = Field(
        ("[skip ci]", "[ci skip]", "[no ci]", "[skip deploy]"),
        max_length=20,
        description="A head commit whose message holds one is not deployed",
    )
    keep_releases: Annotated[int, Shown(Section.DEPLOYING, "Releases kept")] = Field(
        5, ge=1, le=100, description="Releases kept for a rollback"
    )

    @property
    def tags(self) -> str | None:
        """The patterns of the tags that deploy; None: no tag does."""
        return self.tag_pattern or (EVERY_TAG if self.is_tags_only else None)

    @property
    def is_tags_only(self) -> bool:
        """Whether pushes of branches do not deploy."""
        return self.deploy_on is DeployOn.TAGS


class BuildSettings(Settings):
    """The settings for building an image; a release keeps its own copy."""

    context: Annotated[PathInside, Shown(Section.BUILD, "Context")] = Field(
        ".", description="The folder that is built"
    )
    dockerfile: Annotated[PathInside, Shown(Section.BUILD, "Dockerfile")] = Field(
        "Dockerfile", description="Path inside the context"
    )
    build_target: Annotated[Word | None, Shown(Section.BUILD, "Build target")] = Field(
        None, description="The stage to build; null: the last one"
    )
    build_timeout_s: Annotated[
        int, Shown(Section.BUILD, "Build timeout", unit="s", is_release=False)
    ] = Field(1800, ge=1, le=7200, description="How long a build may take")
    build_args: Annotated[Many[VariableName], Shown(Section.BUILD, "Build arguments")] = Field(
        (), max_length=100, description="Variables that are also build arguments"
    )
    build_secrets: Annotated[Many[VariableName], Shown(Section.BUILD, "Build secrets")] = Field(
        (), max_length=100, description="Variables that are also build secrets, with the name as id"
    )


class ContainerSettings(Settings):
    """The settings for creating, probing and stopping a container; a release keeps its own copy."""

    health: Annotated[
        Said[Health],
        Shown(
            Section.HEALTH,
            "Check",
            words={
                Health.HTTP: "HTTP: it answers a GET",
                Health.TCP: "TCP: it accepts connections",
                Health.NONE: "None: it keeps running",
            },
        ),
    ] = Field(
        Health.HTTP,
        description="How a new container shows that it can serve: http: it answers a GET; tcp: it "
        "accepts connections, which proves little; none: it keeps running for 5 s",
    )
    health_path: Annotated[HealthPath | None, Shown(Section.HEALTH, "Path")] = Field(
        None, description="Requested by GET; null: /, where any status below 500 is healthy"
    )
    health_host: Annotated[HealthHost | None, Shown(Section.HEALTH, "Host header")] = Field(
        None,
        description="The Host header of the health check; null: the app's first domain, else "
        "localhost",
    )
    health_status: Annotated[StatusRange | None, Shown(Section.HEALTH, "Healthy statuses")] = Field(
        None,
        description="The statuses that are healthy; null: 200-399 with a path of the app's own, "
        "200-499 without one",
    )
    health_timeout_s: Annotated[int, Shown(Section.HEALTH, "Time limit", unit="s")] = Field(
        30, ge=1, le=3600, description="How long a start may take, from the first check"
    )
    health_interval_s: Annotated[
        float | None, Shown(Section.HEALTH, "Health interval", unit="s")
    ] = Field(
        None, ge=0.01, le=600, description="Between two checks; null: short at first, then longer"
    )
    health_successes: Annotated[int, Shown(Section.HEALTH, "Healthy checks in a row")] = Field(
        1, ge=1, le=100, description="Healthy checks needed in a row"
    )
    container_port: Annotated[Port | None, Shown(Section.CONTAINER, "Port inside")] = Field(
        None,
        description="Where the app listens inside its container; null: the image's only EXPOSEd "
        "port, else 8000",
    )
    memory_mb: Annotated[int, Shown(Section.CONTAINER, "Memory", unit="MB")] = Field(
        512, ge=6, le=1_048_576, description="The container's memory limit"
    )
    cpus: Annotated[float | None, Shown(Section.CONTAINER, "CPUs")] = Field(
        None, gt=0, le=1024, description="CPU limit; null: none"
    )
    pids: Annotated[int, Shown(Section.CONTAINER, "Processes, at most")] = Field(
        512, ge=1, le=100_000, description="The container's process limit"
    )
    shm_size_mb: Annotated[int | None, Shown(Section.CONTAINER, "Shared memory", unit="MB")] = (
        Field(
            None,
            ge=1,
            le=1_048_576,
            description="The size of /dev/shm, which databases and browsers use; it counts as the "
            "container's memory; null: 64",
        )
    )
    ulimits: Annotated[
        Many[Ulimit], AfterValidator(each_limit_once), Shown(Section.CONTAINER, "Ulimits")
    ] = Field(
        (),
        max_length=20,
        description="Limits of each process, as name=soft:hard or name=both, like nofile=65536; "
        "-1: unlimited",
    )
    restart: Annotated[
        Said[Restart],
        Shown(
            Section.CONTAINER,
            "Restart",
            words={
                Restart.ALWAYS: "always",
                Restart.ON_FAILURE: "when it failed",
                Restart.NEVER: "never",
            },
        ),
    ] = Field(Restart.ALWAYS, description="When the live container is started again")
    capabilities: Annotated[
        Said[Capabilities],
        Shown(
            Section.CONTAINER,
            "Capabilities",
            words={
                Capabilities.DEFAULT: "what ordinary images need",
                Capabilities.NONE: "none",
            },
        ),
    ] = Field(Capabilities.DEFAULT, description="The Linux capabilities the container keeps")
    new_privileges: Annotated[bool, Shown(Section.CONTAINER, "Programs may gain privileges")] = (
        Field(
            default=False,
            description="Whether a program may gain privileges, as sudo does by setuid",
        )
    )
    init: Annotated[bool, Shown(Section.CONTAINER, "Docker's init")] = Field(
        default=True,
        description="Docker's init as PID 1; off for an image that brings one, like s6-overlay",
    )
    drain_timeout_s: Annotated[int, Shown(Section.CONTAINER, "Time to drain", unit="s")] = Field(
        30, ge=0, le=3600, description="Time for requests to finish before the old one is stopped"
    )
    stop_signal: Annotated[Signal | None, Shown(Section.CONTAINER, "Stop signal")] = Field(
        None,
        description="The signal that asks the container to stop; null: the image's STOPSIGNAL, "
        "else SIGTERM",
    )
    stop_grace_s: Annotated[int, Shown(Section.CONTAINER, "Time to stop", unit="s")] = Field(
        10, ge=0, le=600, description="From the stop signal to SIGKILL"
    )
    command: Annotated[
        Many[Argument] | None,
        Shown(
            Section.CONTAINER,
            "Command",
            hint="One argument a line; one of several lines as a JSON string in double quotes. "
            "Empty: the image's own",
        ),
    ] = Field(
        None, min_length=1, max_length=100, description="Replaces the image's own; null: its own"
    )
    volumes: Annotated[Many[Volume], Shown(Section.CONTAINER, "Volumes")] = Field(
        (), max_length=20, description="Named volumes, as name:/path; kept across deployments"
    )
    gzip: Annotated[bool, Shown(Section.CONTAINER, "Compress text", is_release=False)] = Field(
        default=False,
        description="Whether the router compresses text (gzip) that the app has not; takes effect "
        "within a minute",
    )
    labels: Annotated[
        dict[LabelName, Argument],
        BeforeValidator(few),
        Shown(Section.CONTAINER, "Labels", hint="As name=value, one a line; Keystone's own aside"),
    ] = Field(
        {}, max_length=MOST_LABELS, description="Labels for the container, besides Keystone's own"
    )

    # Both belong to the release: the one that is replaced knows where its assets are, and how long
    # its visitors may still ask for them. So a change applies to releases made after it.
    asset_paths: Annotated[Many[AssetPath], Shown(Section.DEPLOYING, "Asset paths")] = Field(
        (),
        max_length=20,
        description="Paths, like /assets/*, whose 404 from the new release is asked of the "
        "replaced one while that is kept warm",
    )
    warm_minutes: Annotated[int, Shown(Section.DEPLOYING, "Kept warm", unit="min")] = Field(
        0,
        ge=0,
        le=1440,
        description="How long the replaced container keeps running for its old assets and for an "
        "instant rollback; 0: it is stopped once its requests have ended",
    )

    @property
    def port(self) -> int:
        """The port inside the container; a release always has one of its own."""
        return self.container_port or DEFAULT_PORT

    @property
    def asked_path(self) -> str | None:
        """The path that the health check requests by GET; None if it sends no request."""
        return (self.health_path or "/") if self.health is Health.HTTP else None

    @property
    def healthy_statuses(self) -> range:
        """The HTTP statuses that count as healthy."""
        if self.health_status is None:
            return OK_OR_REDIRECT if self.health_path else BELOW_500
        first, _, last = self.health_status.partition("-")
        return range(int(first), int(last or first) + 1)
