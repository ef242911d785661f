"""The interfaces (protocols) of the external systems that a deployment uses.

Only one thread at a time may use an adapter, unless a method says otherwise. Every call has its own
deadline; no call waits for ever. Adapters raise Keystone's errors and keep the cause. "Not found"
is a value (None, an empty list, `MISSING`), never an error.
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
    HealthRequest,
    Image,
    Insides,
    OutputLine,
    ProbeResult,
    Route,
    Usage,
    Warm,
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
    """The files of one commit below one folder, read directly from the mirror."""

    def entries(self) -> list[TreeEntry]:
        """List every file and link, sorted by path. Submodules are left out."""

    def submodules(self) -> list[str]:
        """List the paths of the submodules, which are not fetched; only some if there are many."""

    def read(self, entry: TreeEntry) -> Iterator[bytes]:
        """Give a file's content in chunks of at most 64 KiB. Any thread may call it."""


class Source(Protocol):
    """Repositories and their commits."""

    def fetch(self, remote: Remote, *, ref: str, sha: str | None, stop: StopSignal) -> str:
        """Make a commit available in the mirror, and give its SHA.

        Args:
            ref: the full name of a branch or tag (`refs/heads/main`), or a SHA.
            sha: the exact commit wanted; None takes the commit that `ref` points to now.

        Raises:
            CheckoutError: the ref or commit does not exist.
            RepositoryDeniedError: the repository refuses the token, does not exist or is hidden.
            GitError: the server cannot be reached.
        """

    def head(self, remote: Remote, *, ref: str, stop: StopSignal) -> str | None:
        """Ask the server which commit a full ref points to now; None when there is no such ref.

        Raises:
            RepositoryDeniedError: the repository refuses the token, does not exist or is hidden.
            GitError: the server cannot be reached.
        """

    def tags(self, remote: Remote, *, stop: StopSignal) -> dict[str, str]:
        """Ask the server for all tags, by their short names, with the commits they point to.

        Raises:
            CheckoutError: there are more than Keystone reads.
            RepositoryDeniedError: the repository refuses the token, does not exist or is hidden.
            GitError: the server cannot be reached.
        """

    def commit(self, remote: Remote, sha: str) -> Commit:
        """Describe a fetched commit. Message and author are truncated to a maximum length."""

    def tree(self, remote: Remote, sha: str, *, folder: str) -> AbstractContextManager[Tree]:
        """Open the tree of a fetched commit below `folder` ("." for all of it).

        Raises:
            CheckoutError: the commit has no such folder.
        """

    def changed(self, remote: Remote, before: str, after: str) -> frozenset[str] | None:
        """Give the paths that differ between two commits, submodules included.

        Returns:
            None when the mirror lacks one of the commits, or when too many paths differ.
        """

    def kept(self) -> set[int]:
        """Give the ids of the repositories that have files on disk."""

    def forget(self, repository_id: int) -> None:
        """Delete a repository's files on disk, unless a fetch of it is running."""


# --- Engine: Docker --------------------------------------------------------------------------


class Engine(Protocol):
    """The Docker Engine, limited to objects with this Keystone's labels and naming scheme.

    Other programs can use the same labels and names. Before a caller removes an object, it checks
    that the object is also recorded in the database.
    """

    def version(self) -> str:
        """Give the engine's version.

        Raises:
            DockerError: no engine answers.
        """

    def image_id(self, tag: str) -> str | None:
        """Give the id of the image with that tag (or id); None when there is none."""

    def exposed_ports(self, image_id: str) -> list[int]:
        """Give the TCP ports that our image EXPOSEs, in ascending order; none when it is missing.

        They include those of the image it is based on.
        """

    def build(self, spec: BuildSpec, tree: Tree, *, log: BuildLog, stop: StopSignal) -> str:
        """Build an image, send its events to `log` as they come, and give the image's id.

        When the stop signal is set or the deadline passes, the engine cancels the build.

        Raises:
            BuildError: the Dockerfile is missing or wrong, a command failed, or it took too long.
            DockerError: the engine or a registry failed, or the disk is full.
        """

    def ensure_network(self, name: str, labels: Mapping[str, str]) -> None:
        """Create the app's own network, with its own small subnet, unless it exists."""

    def start(self, spec: ContainerSpec) -> Container:
        """Create and start a container, without a restart policy.

        Raises:
            StartError: the image's command cannot be run.
            DockerError: the engine failed, or has a container of that name. Both errors leave
                nothing behind.
        """

    def inspect(self, container_id: str) -> Container:
        """Describe a container."""

    def changes(self, *, within_s: float) -> Iterator[str]:
        """Give a container's id for each event of it, for that many seconds.

        Events that happen between two calls are lost.
        """

    def output(self, container_id: str, *, tail: int, after: str = "") -> list[OutputLine]:
        """Give the last lines of a container's output, oldest first, at most `tail`.

        Args:
            after: the time of a line already seen; only later lines are returned.
        """

    def insides(self, container_id: str) -> Insides:
        """Look into a container, to explain why it is unhealthy; what is not known is left out."""

    def keep_running(self, container_id: str, restart: Restart = Restart.ALWAYS) -> None:
        """Set the container's restart policy, so that the engine restarts it when it ends.

        A container that ended before this call is started if the policy would have restarted it.
        """

    def stop(self, container_id: str, *, grace_s: int) -> None:
        """Stop and remove a container: SIGTERM, SIGKILL after the grace period. Missing is fine."""

    def halt(self, container_id: str, *, grace_s: int) -> None:
        """Stop a container as `stop` does, but keep it for a later start. Missing is fine."""

    def start_again(self, container_id: str) -> Container | None:
        """Start a halted container with the same settings, without a restart policy.

        Returns:
            None when the container no longer exists. A running container is returned unchanged.

        Raises:
            StartError: the container's command cannot be run.
            DockerError: the engine failed.
        """

    def containers(self) -> list[Container]:
        """List every container of this Keystone, including stopped ones."""

    def images(self) -> list[Image]:
        """List every image with one of our tags, and every untagged image with our label.

        An untagged image may belong to another program: images that `docker build` bases on our
        image inherit its label.
        """

    def remove_image(self, reference: str) -> None:
        """Remove one of our tags, or, given an id, an image without any tag.

        A missing image, or one in use, is fine.
        """

    def networks(self) -> list[Mapping[str, str]]:
        """Give the labels of every network of this Keystone."""

    def remove_network(self, name: str) -> None:
        """Remove an app's network. Missing, or in use by a foreign container, is fine."""

    def free_disk(self) -> int | None:
        """Give the free bytes on the engine's image disk; None for an engine on another machine."""

    def usage(self) -> Usage:
        """Measure the engine's disk use. May take seconds when the engine holds much data."""

    def trim_build_cache(self, keep_bytes: int) -> int:
        """Delete unused build cache, oldest first, down to that size; give the bytes freed."""


# --- Router: HAProxy -------------------------------------------------------------------------


class Router(Protocol):
    """The reverse proxy that listens on the apps' ports and forwards to the live containers."""

    def version(self) -> str:
        """Give the router's version.

        Raises:
            RouterError: no router answers.
        """

    def switch(self, route: Route) -> None:
        """Send all new requests of the port to the route, in one call; running requests continue.

        Raises:
            PortNotServedError: the port is not one the router listens on.
            RouterError: the router does not answer.
        """

    def in_flight(self, port: int, slot: str) -> int:
        """Count the requests and connections that the slot still serves."""

    def detach(self, port: int, slot: str) -> None:
        """Disable a drained slot and cut its remaining connections."""

    def close(self, port: int) -> None:
        """Disable both slots: the port answers 503."""

    def routes(self) -> dict[int, Route]:
        """Give the current routes by port; ports without an upstream are left out.

        A port where a change was interrupted has a route that equals no other one.
        """

    def warm(self, warm: Warm) -> None:
        """Ask a container for the old assets of a port. Idempotent.

        A GET or HEAD of one of the asset paths goes to the live container first; when that answers
        404, the warm one is asked. From a switch on, the former live container is the warm one.
        Before it, this may name the live one: then its paths are added, and nothing else changes.

        Raises:
            RouterError: the router does not answer, or did not do it.
        """

    def cool(self, port: int) -> None:
        """Ask no container for old assets of the port any more. An unknown port is fine."""

    def warmed(self) -> dict[int, Warm]:
        """Give the containers that are asked for old assets, by port."""

    def serve_domains(self, domains: Mapping[str, int]) -> None:
        """Route exactly these domains to their apps' ports, without interrupting any of them.

        Idempotent. A router that serves no domains does nothing.

        Raises:
            RouterError: the router does not answer, or did not apply the change.
        """

    def serve_certificates(self, certificates: Mapping[str, SecretStr]) -> None:
        """Serve exactly these certificates (PEM with the key) by domain, without interruption.

        A domain with a certificate redirects its visitors from HTTP to HTTPS. Idempotent. A router
        that serves no HTTPS does nothing.

        Raises:
            RouterError: the router does not answer, or refuses a certificate; it serves the other
                certificates then.
        """

    def hold(self) -> None:
        """Let requests for Keystone's own address wait at the router, even if the web answers.

        Each request waits at most 9 s, then it gets the answer 503. So hold for a shorter time, and
        call `release` in a `finally` block. A router that is started or reloaded holds nothing: do
        not reload it meanwhile, since `release` does not reach the requests that wait in the worker
        from before. The watcher releases what a killed caller has left behind, so stop the watcher
        before holding. Idempotent. A router that does not serve the address does nothing.

        Raises:
            RouterError: the router does not answer, or did not hold the requests.
        """

    def release(self) -> None:
        """Pass requests for Keystone's own address on to the web process again. Idempotent.

        Raises:
            RouterError: the router does not answer, or did not release the requests.
        """


# --- Probe -----------------------------------------------------------------------------------


class Probe(Protocol):
    """One health check of a container from outside."""

    def look(
        self,
        address: str,
        port: int,
        request: HealthRequest,
        *,
        timeout_s: float,
    ) -> ProbeResult:
        """Send the request and judge the status; without a path, connect by TCP.

        Redirects are not followed. Whatever the container does, this raises no error.
        """


# --- Forge: GitHub ---------------------------------------------------------------------------


class Forge(Protocol):
    """GitHub's API.

    Every method raises GitHubError when GitHub refused (`permanent`), asks for a pause
    (`retry_after_s`) or could not be reached; GitHubTokenError when GitHub rejects the token;
    GitHubDeniedError when the token lacks the permission, or cannot see such an object;
    GitHubContentError when GitHub rejects the content that was sent.
    """

    def post_status(self, post: StatusPost, token: SecretStr) -> datetime | None:
        """Post a commit status with one request, and check that GitHub accepted it.

        Returns:
            The token's expiry time, if GitHub has told it.
        """

    def identify(self, repository: ForgeRepository, token: SecretStr | None) -> KnownRepository:
        """Look up a repository by its id or else by its name, which may be a former name.

        Args:
            repository: looked up by its id, if that is known.
            token: None asks without authentication, which works for a public repository.
        """

    def hook_at(self, repository: ForgeRepository, url: str, token: SecretStr) -> Hook | None:
        """Find the repository's webhook that sends to a URL; None when there is none."""

    def deliveries(
        self, repository: ForgeRepository, hook: Hook, token: SecretStr, *, since: datetime
    ) -> HookDeliveries:
        """List a webhook's deliveries and attempts since then, newest first, up to a maximum."""

    def payload(
        self, repository: ForgeRepository, hook: Hook, delivery: HookDelivery, token: SecretStr
    ) -> object:
        """Give the JSON payload of a delivery, even if the delivery failed."""

    def install_hook(
        self, repository: ForgeRepository, wish: HookWish, token: SecretStr
    ) -> InstalledHook:
        """Ensure exactly one webhook for the wish's URL: create it, or change the existing one."""
