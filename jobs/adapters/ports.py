"""What the deployment needs of the outside world, as contracts in prose.

An adapter may be used by one thread at a time, unless a method says otherwise. Every call has a
deadline of its own; no call waits for ever. Errors are Keystone's, with the cause kept; what is
"not there" is a value (None, an empty list, `MISSING`), never an error.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from datetime import datetime
from typing import Protocol

from pydantic import SecretStr

from jobs.rules.container_values import (
    BuildSpec,
    Container,
    ContainerSpec,
    Image,
    OutputLine,
    ProbeResult,
    Route,
    Usage,
)
from jobs.rules.log_events import BuildEvent
from jobs.rules.repository_values import (
    Commit,
    ForgeRepository,
    Hook,
    HookDeliveries,
    HookDelivery,
    HookWish,
    InstalledHook,
    KnownRepository,
    Remote,
    StatusPost,
    TreeEntry,
)
from jobs.rules.stopping import StopSignal
from jobs.states import Restart

BuildLog = Callable[[BuildEvent], None]


# --- Source: git -----------------------------------------------------------------------------


class Tree(Protocol):
    """The files of one commit below one folder, read straight from the mirror."""

    def entries(self) -> list[TreeEntry]:
        """List every file and link, sorted by path. Submodules are left out."""

    def read(self, entry: TreeEntry) -> Iterator[bytes]:
        """Give the content in pieces of at most 64 KiB. May be called from any thread."""


class Source(Protocol):
    """Repositories and their commits."""

    def fetch(self, remote: Remote, *, ref: str, sha: str | None, stop: StopSignal) -> str:
        """Make a commit available in the mirror, and give its SHA.

        Args:
            ref: the full name of a branch or tag (`refs/heads/main`), or a SHA.
            sha: the exact commit wanted; None takes what `ref` points to now.

        Raises:
            CheckoutError: the ref or commit is not there.
            RepositoryDeniedError: the repository refuses the token, or is not there to be seen.
            GitError: the server cannot be reached.
        """

    def head(self, remote: Remote, *, ref: str, stop: StopSignal) -> str | None:
        """Ask the server which commit a full ref points to now; None when there is no such ref.

        Raises:
            RepositoryDeniedError: the repository refuses the token, or is not there to be seen.
            GitError: the server cannot be reached.
        """

    def commit(self, remote: Remote, sha: str) -> Commit:
        """Describe a commit that was fetched. Message and author are cut to bounded lengths."""

    def tree(self, remote: Remote, sha: str, *, folder: str) -> AbstractContextManager[Tree]:
        """Open the tree of a fetched commit below `folder` ("." for all of it).

        Raises:
            CheckoutError: the commit has no such folder.
        """

    def kept(self) -> set[int]:
        """Give the ids of the repositories of which something is kept on disk."""

    def forget(self, repository_id: int) -> None:
        """Remove all that is kept of a repository. One that is being fetched now stays."""


# --- Engine: Docker --------------------------------------------------------------------------


class Engine(Protocol):
    """The Docker Engine, limited to what has this Keystone's labels and the names it gives.

    Others can give both. Whoever removes something makes sure that it is on record, too.
    """

    def version(self) -> str:
        """Give the engine's version.

        Raises:
            DockerError: no engine answers.
        """

    def image_id(self, tag: str) -> str | None:
        """Give the id of the image with that tag (or id), or None when there is none."""

    def build(self, spec: BuildSpec, tree: Tree, *, log: BuildLog, stop: StopSignal) -> str:
        """Build an image, with its events sent to `log` as they come; give the image's id.

        When the stop signal is set or the deadline passes the build is cancelled in the engine.

        Raises:
            BuildError: the Dockerfile is missing or wrong, a command failed, or it took too long.
            DockerError: the engine or a registry failed, or the disk is full.
        """

    def ensure_network(self, name: str, labels: Mapping[str, str]) -> None:
        """Make the app's own network, with a small subnet of its own, unless it is there."""

    def start(self, spec: ContainerSpec) -> Container:
        """Create and start a container that is not restarted when it ends.

        Raises:
            StartError: the image's command cannot be run.
            DockerError: the engine failed, or has a container of that name. Nothing is left behind
                in either case.
        """

    def inspect(self, container_id: str) -> Container:
        """Describe a container."""

    def changes(self, *, within_s: float) -> Iterator[str]:
        """Give the id of a container each time something happens to it, for so many seconds.

        What happens while nobody listens is not told afterwards.
        """

    def output(self, container_id: str, *, tail: int) -> list[str]:
        """Give the last lines the container wrote, oldest first, at most `tail`."""

    def written(self, container_id: str, *, tail: int, after: str = "") -> list[OutputLine]:
        """Give the last lines a container wrote with their times, at most `tail`.

        Args:
            after: the time of a line already seen; only later ones are given.
        """

    def keep_running(self, container_id: str, restart: Restart = Restart.ALWAYS) -> None:
        """Have the engine restart the container when it ends, as the app wants it.

        One that ended before this was said is started, as it would have been after it.
        """

    def stop(self, container_id: str, *, grace_s: int) -> None:
        """End and remove a container: SIGTERM, SIGKILL after the grace period. Missing is fine."""

    def halt(self, container_id: str, *, grace_s: int) -> None:
        """End a container as `stop` does, and keep it to be started again. Missing is fine."""

    def start_again(self, container_id: str) -> Container | None:
        """Start a container that was halted, as it was; it is not restarted when it ends.

        Returns:
            None when it is not there any more. One that runs already is given as it is.

        Raises:
            StartError: its command cannot be run.
            DockerError: the engine failed.
        """

    def containers(self) -> list[Container]:
        """List every container of this Keystone, stopped ones too."""

    def images(self) -> list[Image]:
        """List every image with a tag of ours, and those without any tag that have our label.

        The latter may be others': `docker build` hands the label on to what is made of our image.
        """

    def remove_image(self, reference: str) -> None:
        """Remove one tag of ours, or by its id an image that has no tag of anybody's.

        Missing, or still in use, is fine.
        """

    def networks(self) -> list[Mapping[str, str]]:
        """List every network of this Keystone by the labels it was made with."""

    def remove_network(self, name: str) -> None:
        """Remove an app's network. Missing, or with somebody else's container on it, is fine."""

    def free_disk(self) -> int | None:
        """Give the bytes free where the engine keeps images; None when it is another machine's."""

    def usage(self) -> Usage:
        """Tell what is kept on the engine's disk. May take seconds on an engine with much on it."""

    def trim_build_cache(self, keep_bytes: int) -> int:
        """Remove unused build cache, oldest first, down to that size; give the bytes freed."""


# --- Router: HAProxy -------------------------------------------------------------------------


class Router(Protocol):
    """What listens on the apps' ports and passes requests on to the live containers."""

    def version(self) -> str:
        """Give the router's version.

        Raises:
            RouterError: no router answers.
        """

    def switch(self, route: Route) -> None:
        """Send all new requests of the port there, in one call; running ones go on as they are.

        Raises:
            PortNotServedError: the port is not one the router listens on.
            RouterError: the router does not answer.
        """

    def in_flight(self, port: int, slot: str) -> int:
        """Count the requests and connections that slot still serves."""

    def detach(self, port: int, slot: str) -> None:
        """Take a drained slot out of use. Its remaining connections are cut."""

    def close(self, port: int) -> None:
        """Take both slots out of use: the port answers 503."""

    def routes(self) -> dict[int, Route]:
        """Give what the router does now, by port; ports without an upstream are left out."""

    def serve_domains(self, domains: Mapping[str, int]) -> None:
        """Have exactly these domains lead to their apps' ports, without a pause for any of them.

        Doing it again changes nothing. A router that serves no domains does nothing.

        Raises:
            RouterError: the router does not answer, or did not do it.
        """

    def serve_certificates(self, certificates: Mapping[str, SecretStr]) -> None:
        """Show exactly these certificates, PEM with the key, by domain; without a pause for any.

        Visitors of a domain that has one are sent on from HTTP to HTTPS. Doing it again changes
        nothing. A router that serves no HTTPS does nothing.

        Raises:
            RouterError: the router does not answer, or refuses one; the others are shown then.
        """


# --- Probe -----------------------------------------------------------------------------------


class Probe(Protocol):
    """One look at a container from outside."""

    def look(
        self,
        host: str,
        port: int,
        path: str | None,
        *,
        timeout_s: float,
        healthy: range = range(200, 400),
    ) -> ProbeResult:
        """Send GET `path` and judge the status; without a path, connect by TCP.

        Redirects are not followed. Nothing is raised for what the other side does.
        """


# --- Forge: GitHub ---------------------------------------------------------------------------


class Forge(Protocol):
    """GitHub's API.

    Every method raises GitHubError when GitHub refused (`permanent`), wants a pause
    (`retry_after_s`) or could not be reached; GitHubTokenError when it does not take the token;
    GitHubDeniedError when the token may not do that, or there is no such thing for it to see;
    GitHubContentError when it does not take what it was sent.
    """

    def post_status(self, post: StatusPost, token: SecretStr) -> datetime | None:
        """Post a commit status with one request, and make sure GitHub took it.

        Returns:
            When the token expires, if GitHub has said so.
        """

    def identify(self, repository: ForgeRepository, token: SecretStr | None) -> KnownRepository:
        """Ask which repository an id stands for, or else a name; a name may be an earlier one.

        Args:
            repository: asked for by its id, if that is known.
            token: None asks as anybody may, of a public repository.
        """

    def hook_at(self, repository: ForgeRepository, url: str, token: SecretStr) -> Hook | None:
        """Find the repository's webhook that sends to an address; None when there is none."""

    def deliveries(
        self, repository: ForgeRepository, hook: Hook, token: SecretStr, *, since: datetime
    ) -> HookDeliveries:
        """List what a webhook has tried to deliver since then, newest first, up to a bound."""

    def payload(
        self, repository: ForgeRepository, hook: Hook, delivery: HookDelivery, token: SecretStr
    ) -> object:
        """Give the JSON that a delivery brought, or should have."""

    def install_hook(
        self, repository: ForgeRepository, wish: HookWish, token: SecretStr
    ) -> InstalledHook:
        """Have exactly one webhook for the wish's address: made, or the one there is changed."""
