"""An app's fields as callers send them: its settings, repository and addresses. Pure.

`jobs.rules.app_settings` declares the settings and explains the parts of a declaration.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from types import NoneType, UnionType
from typing import Annotated, Any, Union, get_args, get_origin
from urllib.parse import urlsplit

from pydantic import (
    AfterValidator,
    ConfigDict,
    Field,
    ValidationError,
)
from pydantic.fields import FieldInfo

from jobs.errors import ConfigurationError, Mistake
from jobs.rules.app_settings import (
    BuildSettings,
    ContainerSettings,
    PushRules,
    Section,
    Settings,
    Shown,
    without_metadata,
)
from jobs.rules.field_types import (
    REF,
    AppName,
    Branch,
    DomainName,
    GitUrl,
    Port,
    RepositoryName,
    Token,
    each_once,
)
from jobs.rules.mistakes import mistakes_of


class AppChange(ContainerSettings, BuildSettings, PushRules):
    """The fields of an app that can be changed; a field that is not given stays unchanged."""

    # Strict: JSON and TOML have types of their own, and `true` must not be read as a number.
    model_config = ConfigDict(extra="forbid", strict=True)

    branch: Annotated[Branch, Shown(Section.SOURCE, "Branch")] = Field(
        "main", description="The branch whose pushes are deployed"
    )
    git_url: Annotated[
        GitUrl | None,
        Shown(
            Section.SOURCE,
            "Git URL",
            hint="Empty: GitHub's https URL. On another server the token is taken away",
        ),
    ] = Field(None, description="Null: GitHub's https URL")
    token: Annotated[
        Token | None,
        Shown(
            Section.APP,
            "Token",
            hint="The repository's, from GitHub: Contents: read, Commit statuses: read and write. "
            "Write-only",
        ),
    ] = Field(None, description="The repository's token; write-only")
    auto_deploy: Annotated[
        bool, Shown(Section.DEPLOYING, "Deploy pushes by themselves", hint="Off: only by hand")
    ] = Field(default=True, description="Whether pushes deploy")
    host_port: Annotated[Port | None, Shown(Section.ADDRESSES, "Public port")] = Field(
        None, description="Where the router listens; null: allocated"
    )
    domains: Annotated[
        list[DomainName],
        AfterValidator(each_once),
        Shown(Section.ADDRESSES, "Domains"),
    ] = Field(
        [], max_length=50, description="Host names the router serves it by; the first is its URL"
    )

    def given(self) -> dict[str, Any]:
        """Give only the fields that the caller set."""
        return {name: getattr(self, name) for name in self.model_fields_set}


class AppPatch(AppChange):
    """A change by the API; a client may send every field that a new app has."""

    name: AppName | None = Field(None, description="Unchanged: an app keeps its name")
    repository: RepositoryName | None = Field(None, description="Unchanged, too")


class AppInput(AppChange):
    """The fields of a new app."""

    name: Annotated[AppName, Shown(Section.APP, "Name")] = Field(
        description="Unique; part of container names and statuses"
    )
    repository: Annotated[RepositoryName, Shown(Section.APP, "Repository")] = Field(
        description="owner/name on GitHub"
    )


# The parts of an app's settings that are stored as one value each, by column name.
PARTS: Mapping[str, type[Settings]] = {
    "push_rules": PushRules,
    "build": BuildSettings,
    "container": ContainerSettings,
}
# Fields stored with the repository (fetch URL and token), not in the app's row.
REPOSITORY_FIELDS = frozenset({"token", "git_url"})


def shown(name: str) -> Shown:
    """Give the `Shown` of a field: how pages show it."""
    return next(each for each in AppInput.model_fields[name].metadata if isinstance(each, Shown))


def is_kept_by_release(name: str) -> bool:
    """Whether a change of the field takes effect only with the next release."""
    is_part = name in BuildSettings.model_fields or name in ContainerSettings.model_fields
    return is_part and shown(name).is_release


def field_names() -> Sequence[str]:
    """List the fields of an app in the order of pages: its own first, then those of its parts."""
    parts = [name for kind in PARTS.values() for name in kind.model_fields]
    return [*(name for name in AppInput.model_fields if name not in parts), *parts]


def type_of(known: FieldInfo) -> type:
    """Give the plain type of a field's values, such as bool, tuple or dict; None is left out."""
    bare = without_metadata(known.annotation)
    alternatives = get_args(bare) if get_origin(bare) in {Union, UnionType} else (bare,)
    kind = next(each for each in alternatives if each is not NoneType)
    found: type = get_origin(kind) or kind
    return found


def default_of(known: FieldInfo) -> Any:  # noqa: ANN401 — a field may be of any type
    """Give a field's default value."""
    return known.get_default(call_default_factory=True)


def ensure_scheme(git_url: str, allowed: Sequence[str]) -> None:
    """Refuse a git URL whose scheme the settings do not allow.

    Raises:
        ConfigurationError: the scheme is not allowed.
    """
    scheme = urlsplit(git_url).scheme
    if scheme not in allowed:
        told = f"{scheme} is not allowed; KEYSTONE_ALLOWED_GIT_SCHEMES names {', '.join(allowed)}"
        raise ConfigurationError(Mistake("git_url", told))


def parse_ref(text: str) -> str:
    """Give the full name of the ref or commit that a person typed.

    Raises:
        ConfigurationError: the text is neither a ref nor a commit, or it is ambiguous.
    """
    try:
        return REF.validate_python(text)
    except ValidationError as exc:
        raise ConfigurationError(
            *(replace(each, field="ref") for each in mistakes_of(exc))
        ) from None
