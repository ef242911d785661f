"""Keystone's own configuration: read once, validated together, immutable.

Every name begins with `KEYSTONE_`. Values come from the environment, then from a `.env` file; a
secret may also come from the file that `NAME_FILE` points to. Unknown names are refused, so that a
typo is never silently ignored.
"""

import hashlib
import re
from collections.abc import Mapping
from ipaddress import ip_address
from pathlib import Path
from typing import Annotated, Any, TypeVar
from urllib.parse import quote

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    IPvAnyNetwork,
    SecretStr,
    ValidationInfo,
    field_validator,
)

from jobs.rules import setting_urls
from jobs.rules.domain_names import named_host
from jobs.rules.ip_addresses import join_address
from jobs.rules.passwords import SHORTEST
from jobs.rules.setting_urls import SQLITE
from jobs.system.machine import build_cpus, build_memory_mb, build_pids
from jobs.system.private_folder import owner_of, runtime_dir

PREFIX = "KEYSTONE_"
SHORTEST_KEY = 16  # characters
# A Unix socket's path is limited to 107 characters; ours are up to 30 longer than their folder's.
LONGEST_SOCKET_DIR = 70
# The path becomes part of a URL, and redis-py cannot parse a client address with a space in it.
PLAIN_PATH = re.compile(r"[A-Za-z0-9/._-]+")
# No part of the path may be `..`.
IMAGE = r"^(?:[a-z0-9][A-Za-z0-9._/:@-]{0,254})?$"
CONTROL_GROUP = re.compile(r"(?:[A-Za-z0-9_:-][A-Za-z0-9_.:-]*/)*[A-Za-z0-9_:-][A-Za-z0-9_.:-]*")


class PortRange(BaseModel):
    """The range of ports for apps, both ends included."""

    model_config = ConfigDict(frozen=True)

    first: int = Field(ge=1, le=65535)
    last: int = Field(ge=1, le=65535)

    def __contains__(self, port: object) -> bool:
        return isinstance(port, int) and self.first <= port <= self.last

    def __str__(self) -> str:
        return f"{self.first}-{self.last}"

    def __len__(self) -> int:
        return self.last - self.first + 1


def _parse_port_range(value: object) -> object:
    if not isinstance(value, str):
        return value
    first, dash, last = value.partition("-")
    if not dash or not first.strip().isdecimal() or not last.strip().isdecimal():
        raise ValueError("must be two ports with a dash between them, like 20000-20999")
    if int(first) > int(last):
        raise ValueError("must begin with the smaller port")
    return {"first": int(first), "last": int(last)}


def split_keys(given: SecretStr) -> list[SecretStr]:
    """Split a comma-separated list of keys."""
    parts = (part.strip() for part in given.get_secret_value().split(","))
    return [SecretStr(part) for part in parts if part]


def _split_commas(value: object) -> object:
    if not isinstance(value, str):
        return value
    return tuple(part.strip() for part in value.split(",") if part.strip())


def _use_of(port: int, given: Mapping[str, Any]) -> str:
    """Return which setting validated so far already uses a port; empty when none does."""
    if port in {given.get("port"), given.get("http_port")}:
        return "is a port that Keystone itself uses already"
    return "is inside KEYSTONE_PORT_RANGE" if port in given.get("port_range", ()) else ""


def _unless_used(port: int, given: Mapping[str, Any]) -> int:
    return 0 if _use_of(port, given) else port


class Settings(BaseModel):
    """The settings of every process. Secrets that only some processes need are in subclasses."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    data_dir: Path = Field(Path("./data"), description="Where everything Keystone keeps lives")
    database_url: str = Field(
        "", description="SQLite in the data directory, or `postgresql+psycopg://…`"
    )
    redis_url: str = Field(
        "", description="A Redis to use; unset: a private redis-server child on a Unix socket"
    )
    router_socket: str = Field(
        "",
        description="The runtime API's Unix socket of a HAProxy that somebody else runs, with what "
        "`keystone router --write` gives as its configuration; unset: a private HAProxy",
    )
    secret_key: SecretStr = Field(
        SecretStr(""),
        description="Encrypts stored secrets; several, comma-separated, newest first; unset: made "
        "once in the data directory",
    )
    host: str = Field("127.0.0.1", description="The address the web process listens on")
    port: int = Field(8000, ge=1, le=65535, description="The port the web process listens on")
    public_url: str = Field("", description="How GitHub and browsers reach the web process")
    workers: int = Field(
        2,
        ge=1,
        le=64,
        description="How many deployments may run at once; a rollback may run beside them",
    )
    port_range: Annotated[PortRange, BeforeValidator(_parse_port_range)] = Field(
        PortRange(first=20000, last=20999), description="The ports apps are given"
    )
    app_bind: str = Field("127.0.0.1", description="The address apps listen on")
    http_port: int = Field(
        default_factory=lambda given: _unless_used(80, given),
        ge=0,
        le=65535,
        description="Where the apps' domains are served by HTTP; 0: nowhere; unset: 80, unless "
        "that is used already",
    )
    https_port: int = Field(
        default_factory=lambda given: _unless_used(443, given),
        ge=0,
        le=65535,
        description="Where the apps' domains are served by HTTPS; 0: nowhere; unset: 443, unless "
        "that is used already",
    )
    domain_bind: str = Field(
        "0.0.0.0",  # noqa: S104 — domains are for the world
        description="The address the domains are served on",
    )
    trusted_proxies: Annotated[tuple[IPvAnyNetwork, ...], BeforeValidator(_split_commas)] = Field(
        (),
        description="Addresses and networks of proxies, before the web process or before apps, "
        "whose X-Forwarded-For and the like are believed",
    )
    allowed_git_schemes: Annotated[tuple[str, ...], BeforeValidator(_split_commas)] = Field(
        ("https",), description="The URL schemes a repository may be fetched by"
    )
    github_api_url: str = Field(
        "https://api.github.com", description="GitHub's API; another one for GitHub Enterprise"
    )

    catch_up_minutes: int = Field(
        10,
        ge=0,
        le=1440,
        description="How often each repository is asked for pushes that were missed; 0: never",
    )

    block_metadata: bool = Field(
        default=False,
        description="Whether containers and builds are kept from the addresses at which clouds "
        "hand out the machine's own credentials",
    )

    settings_pages: bool = Field(
        default=True, description="Whether the dashboard has pages on which admins change settings"
    )

    @field_validator("public_url")
    @classmethod
    def _own_url(cls, value: str) -> str:
        return setting_urls.own_url(value) if value else value

    @field_validator("github_api_url")
    @classmethod
    def _api_url(cls, value: str) -> str:
        return setting_urls.github_api(value)

    @field_validator("database_url")
    @classmethod
    def _known_database(cls, value: str) -> str:
        path = setting_urls.database(value).removeprefix(SQLITE) if value else ""
        if value.startswith(SQLITE) and not path.startswith("/"):
            # Keystone's processes run in another working directory than the user who sets this.
            return f"{SQLITE}{quote(str(Path.cwd()))}/{path}"
        return value

    @field_validator("router_socket")
    @classmethod
    def _absolute_socket(cls, value: str) -> str:
        return str(Path(value).absolute()) if value else value

    @field_validator("redis_url")
    @classmethod
    def _known_redis(cls, value: str) -> str:
        return setting_urls.redis(value) if value else value

    @field_validator("allowed_git_schemes")
    @classmethod
    def _known_schemes(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if not value or set(value) - {"https", "http", "file"}:
            raise ValueError("may name https, http and file only")
        return value

    @field_validator("http_port", "https_port")
    @classmethod
    def _own_port(cls, value: int, info: ValidationInfo) -> int:
        if value and (use := _use_of(value, info.data)):
            raise ValueError(f"{use}; choose another, or 0")
        return value

    @field_validator("app_bind", "domain_bind")
    @classmethod
    def _ip_address(cls, value: str) -> str:
        try:
            return str(ip_address(value))
        except ValueError:
            raise ValueError("must be an IP address, like 127.0.0.1 or 0.0.0.0") from None

    @field_validator("secret_key")
    @classmethod
    def _long_keys(cls, value: SecretStr) -> SecretStr:
        if any(len(key.get_secret_value()) < SHORTEST_KEY for key in split_keys(value)):
            raise ValueError(f"each key needs at least {SHORTEST_KEY} characters")
        return value

    @field_validator("data_dir")
    @classmethod
    def _absolute(cls, value: Path) -> Path:
        return value.expanduser().resolve()

    @property
    def effective_database_url(self) -> str:
        """The URL of the database."""
        return self.database_url or f"sqlite:///{quote(str(self.data_dir / 'keystone.db'))}"

    @property
    def effective_redis_url(self) -> str:
        """The URL of the Redis server."""
        return self.redis_url or f"unix://{self.redis_socket}"

    @property
    def redis_socket(self) -> Path:
        """The socket of the private Redis, in a folder that only Redis may write to."""
        return self.socket_dir / "redis" / "redis.sock"

    @property
    def effective_router_socket(self) -> Path:
        """The socket of the router's runtime API."""
        return Path(self.router_socket or self.socket_dir / "haproxy.sock")

    @property
    def effective_public_url(self) -> str:
        """The public URL of the web process, without a trailing slash."""
        return self.public_url or f"http://{join_address(self.host, self.port)}"

    @property
    def dashboard_name(self) -> str:
        """The dashboard's own host name; empty when it has none."""
        return named_host(self.public_url)

    @property
    def run_dir(self) -> Path:
        """The folder of the supervisor's own files."""
        return self.data_dir / "run"

    @property
    def socket_dir(self) -> Path:
        """The folder of the private sockets: `run_dir`, unless its path is too long or unusual."""
        inside = self.run_dir
        if len(str(inside)) <= LONGEST_SOCKET_DIR and PLAIN_PATH.fullmatch(str(inside)):
            return inside
        digest = hashlib.sha256(str(self.data_dir).encode()).hexdigest()[:12]
        # Named after the data directory's owner: Keystone's processes may run as other users.
        owner = owner_of(self.data_dir)
        return runtime_dir(owner) / f"keystone-{owner}-{digest}"

    @property
    def redis_dir(self) -> Path:
        """The data folder of the private Redis."""
        return self.data_dir / "redis"

    @property
    def chroot_dir(self) -> Path:
        """The empty folder that a router started by root changes its root directory to (chroot)."""
        return self.socket_dir / "empty"

    @property
    def docker_dir(self) -> Path:
        """The folder with the parts of root's Docker configuration that non-root workers need."""
        return self.run_dir / "docker"

    @property
    def router_dir(self) -> Path:
        """The folder of the router's configuration, including the certificates' private keys."""
        return self.data_dir / "router"

    @property
    def logs_dir(self) -> Path:
        """The folder of the deployments' logs."""
        return self.data_dir / "logs"

    @property
    def mirrors_dir(self) -> Path:
        """The folder of the repositories' bare mirrors."""
        return self.data_dir / "mirrors"


class WebSettings(Settings):
    """The web process's additional setting: the secret that verifies deliveries."""

    webhook_secret: SecretStr = Field(
        SecretStr(""),
        description="Verifies deliveries of repositories without a secret of their own",
    )


class WorkerSettings(Settings):
    """Additional settings of workers and the watcher: builds, housekeeping, the GitHub token."""

    min_free_disk_mb: int = Field(
        1024, ge=0, description="Below this much free space on Docker's disk nothing is built"
    )
    build_cache_mb: int = Field(
        0,
        ge=0,
        description="Unused build cache past this is removed, whoever made it; 0: never",
    )
    build_memory_mb: int = Field(
        default_factory=build_memory_mb,
        ge=0,
        description="What all builds together may use of the memory; 0: as much as there is; "
        "unset: most of it",
    )
    build_pids: int = Field(
        default_factory=build_pids,
        ge=0,
        description="How many processes and threads all builds together may have; 0: no limit",
    )
    build_cpus: float = Field(
        default_factory=build_cpus,
        ge=0,
        description="How many processors all builds together may use; 0: all; unset: three "
        "quarters of them",
    )
    build_cgroup: str = Field(
        "",
        description="The control group that the limits of builds are set on, such as "
        "`docker/buildkit`, where an older engine runs everybody's builds; unset: one for "
        "Keystone's builds alone, which needs Docker Engine 23",
    )
    dockerfile_frontend: str = Field(
        "",
        pattern=IMAGE,
        description="The image that reads Dockerfiles without a `# syntax=` line, such as "
        "docker/dockerfile:1; unset: the engine's own frontend",
    )
    keep_logs_days: int = Field(
        90, ge=1, le=3650, description="How long the logs of deployments are kept"
    )
    github_token: SecretStr = Field(
        SecretStr(""), description="The token for repositories without one of their own"
    )

    @field_validator("build_cgroup")
    @classmethod
    def _plain_group(cls, value: str) -> str:
        group = value.strip("/")
        if value and not CONTROL_GROUP.fullmatch(group):
            raise ValueError("must be a path below the control groups' root, like docker/buildkit")
        return group


class AllSettings(WebSettings, WorkerSettings):
    """All settings, for `keystone up` and the command line."""

    admin_password: SecretStr = Field(
        SecretStr(""), description="The first admin's password; unset: made and printed once"
    )

    @field_validator("admin_password")
    @classmethod
    def _long_password(cls, value: SecretStr) -> SecretStr:
        if 0 < len(value.get_secret_value()) < SHORTEST:
            raise ValueError(f"use at least {SHORTEST} characters")
        return value


AnySettings = TypeVar("AnySettings", bound=Settings)
SECRETS = frozenset(
    name for name, field in AllSettings.model_fields.items() if field.annotation is SecretStr
)
