"""The Docker Engine: the only file that imports the docker SDK.

Only objects with both the labels and the names that this Keystone assigns are listed, changed or
removed; callers never see other objects. Callers remove only objects that are also recorded in the
database. `jobs.adapters.docker.builds` builds images.
"""

import json
import os
import shutil
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

import docker
from docker.models.containers import Container as DockerContainer
from docker.models.images import Image as DockerImage
from docker.transport import UnixHTTPAdapter
from docker.types import LogConfig

from jobs.adapters.buildkit.transport import VersionRefusedError
from jobs.adapters.docker import values
from jobs.adapters.docker.address import engine_address
from jobs.adapters.docker.builds import Builder
from jobs.adapters.docker.disk import measure_usage, trim_build_cache
from jobs.adapters.docker.failures import (
    CONFLICT,
    FORBIDDEN,
    NOT_FOUND,
    Tolerated,
    start_errors,
    translated,
)
from jobs.adapters.docker.inside import look_inside
from jobs.adapters.docker.logins import config_path
from jobs.adapters.docker.negotiation import is_podman, keep_negotiating
from jobs.adapters.docker.networks import Networks
from jobs.adapters.docker.output import last_lines
from jobs.adapters.ports import BuildLog, Tree
from jobs.errors import DockerError
from jobs.rules.container_values import (
    BuildSpec,
    Container,
    ContainerSpec,
    Image,
    Insides,
    OutputLine,
    Usage,
)
from jobs.rules.naming import DEPLOYMENT_LABEL, IDENTITY_LABEL, owns_container, tagged_app
from jobs.rules.stopping import StopSignal
from jobs.states import ContainerState, Restart

TIMEOUT_S = 60
MOST_ADDRESS_TRIES = 3
MOST_OUTPUT_LINES = 5000
# The engine's names of the events that may change a container's state.
CHANGES = ["start", "die", "oom", "pause", "unpause", "health_status", "destroy"]
LATE_S = 3.0
REMOVAL_DEADLINE_S = 20
REMOVAL_POLL_S = 0.1
DISK_ROOT_KEPT_S = 600.0


class DockerEngine:
    """The Docker Engine as `jobs.adapters.ports.Engine` describes it."""

    def __init__(
        self,
        client: docker.DockerClient | None,
        identity: str,
        *,
        config: Path | None = None,
        timeout_s: int = TIMEOUT_S,
    ) -> None:
        """Prepare to talk to an engine; without a client, connect at the first call.

        Args:
            config: the docker CLI's configuration file; builds use the registry logins in it.
        """
        self._connected = client
        if client is not None:
            keep_negotiating(client.api)
        self._identity = identity
        self._config = config
        self._timeout_s = timeout_s
        self._disk_root: Path | None = None
        self._ask_root_at = 0.0  # of `time.monotonic`

    @classmethod
    def from_environment(cls, identity: str, *, timeout_s: int = TIMEOUT_S) -> "DockerEngine":
        """Give the engine that DOCKER_HOST names, or this machine's; it need not be running.

        A process that starts while the engine is down keeps running; only its calls to the engine
        fail.
        """
        return cls(None, identity, config=config_path(os.environ), timeout_s=timeout_s)

    @property
    def _client(self) -> docker.DockerClient:
        if self._connected is None:
            with translated():
                self._connected = docker.from_env(timeout=self._timeout_s)
                keep_negotiating(self._connected.api)
        return self._connected

    @property
    def _networks(self) -> Networks:
        return Networks(self._client, self._identity)

    def close(self) -> None:
        """Close the connections to the engine."""
        if self._connected is not None:
            self._connected.close()

    def version(self) -> str:
        """Give the engine's version."""
        with translated():
            return str(self._client.version()["Version"])

    def components(self) -> dict[str, str]:
        """Give the versions of the engine's components by name: "Engine", "runc" and so on."""
        with translated():
            found = self._client.version().get("Components") or []
        return {str(each.get("Name")): str(each.get("Version")) for each in found}

    # --- Images ------------------------------------------------------------------------------

    def image_id(self, tag: str) -> str | None:
        """Give the id of our image with that tag (or id); None when there is none."""
        with translated():
            image = self._find_image(tag)
            return None if image is None else image.id

    def exposed_ports(self, image_id: str) -> list[int]:
        """Give the TCP ports that our image EXPOSEs."""
        with translated():
            image = self._find_image(image_id)
            return [] if image is None else values.exposed_ports(image.attrs)

    def build(self, spec: BuildSpec, tree: Tree, *, log: BuildLog, stop: StopSignal) -> str:
        """Build an image with our label; the output goes to `log`, in this thread."""
        ours = replace(spec, labels=self._labelled(spec.labels))
        try:
            image_id = self._builder().build(ours, tree, log=log, stop=stop)
        except VersionRefusedError:
            # Another engine has taken its place since we asked; this one has not begun to build.
            image_id = self._builder().build(ours, tree, log=log, stop=stop)
        image_id = image_id or self.image_id(spec.tag)
        if image_id is None:
            raise DockerError("the Docker Engine has built no image, and does not say why")
        return image_id

    def images(self) -> list[Image]:
        """List every image with one of our tags, and every untagged image with our label."""
        with translated():
            found = self._client.api.images(filters=self._ours)
        read = (values.read_image(each, self._identity) for each in found)
        return [image for image in read if image is not None]

    def remove_image(self, reference: str) -> None:
        """Remove one of our tags, or, given an id, an image without any tag, unless in use."""
        with translated(), Tolerated(NOT_FOUND, CONFLICT):
            found = self._find_image(reference)
            if found is not None and (tagged_app(self._identity, reference) or not found.tags):
                self._client.images.remove(reference, force=False)

    # --- Disk --------------------------------------------------------------------------------

    def free_disk(self) -> int | None:
        """Give the free bytes on the engine's image disk; None for an engine on another machine."""
        if not isinstance(self._client.api.get_adapter(self._client.api.base_url), UnixHTTPAdapter):
            return None
        if self._disk_root is None or time.monotonic() > self._ask_root_at:
            with translated():
                # Slow, because the engine counts everything it has. The folder seldom changes.
                self._disk_root = Path(str(self._client.info()["DockerRootDir"]))
                self._ask_root_at = time.monotonic() + DISK_ROOT_KEPT_S
        return shutil.disk_usage(self._disk_root).free if self._disk_root.is_dir() else None

    def usage(self) -> Usage:
        """Measure the engine's disk use."""
        with translated():
            return measure_usage(self._client.api, self._identity, within_s=self._timeout_s)

    def trim_build_cache(self, keep_bytes: int) -> int:
        """Delete unused build cache, oldest first, down to that size; give the bytes freed."""
        with translated():
            return trim_build_cache(self._client.api, keep_bytes)

    # --- Networks ----------------------------------------------------------------------------

    def ensure_network(self, name: str, labels: Mapping[str, str]) -> None:
        """Create the app's own network, unless it exists."""
        with translated():
            self._networks.ensure(name, self._labelled(labels))

    def networks(self) -> list[Mapping[str, str]]:
        """Give the labels of every network of this Keystone."""
        with translated():
            return self._networks.every()

    def remove_network(self, name: str) -> None:
        """Remove an app's network, unless a foreign container uses it."""
        with translated():
            self._networks.remove(name)

    # --- Containers --------------------------------------------------------------------------

    def start(self, spec: ContainerSpec) -> Container:
        """Create and start a container, without a restart policy."""
        with translated():
            self._make_volumes(spec)
            turn = int(spec.labels.get(DEPLOYMENT_LABEL, 0))
            free = self._networks.free_addresses(spec.network, turn=turn)
            for address in islice(free, MOST_ADDRESS_TRIES):
                # Forbidden: another container has taken the address in the meantime.
                with Tolerated(FORBIDDEN):
                    return self._start_at(spec, address)
        raise DockerError(f"the network {spec.network} has no address left for a container")

    def inspect(self, container_id: str) -> Container:
        """Describe a container."""
        with translated():
            found = self._find_container(container_id)
        if found is None:
            return Container(id=container_id, state=ContainerState.MISSING)
        return values.read_container(found.attrs)

    def changes(self, *, within_s: float) -> Iterator[str]:
        """Give the id of one of our containers for each event of it, for `within_s` seconds."""
        filters = {"label": [self._ours["label"]], "type": ["container"], "event": CHANGES}
        begun = time.time()
        wanted = {
            # Without `since`, the engine would begin with all past events that it remembers.
            "since": f"{begun:.3f}",
            "until": f"{begun + within_s:.3f}",
            "filters": json.dumps(filters),
        }
        api = self._client.api
        url = f"{api.base_url}/v{api.api_version}/events"
        # Not `api.events`, which waits for ever when the engine hangs.
        patience = within_s + LATE_S
        with translated(), api.get(url, params=wanted, stream=True, timeout=patience) as answer:
            answer.raise_for_status()
            for line in answer.iter_lines(chunk_size=None):
                actor = json.loads(line).get("Actor") or {}
                # An event's attributes hold the labels and the name side by side.
                told = actor.get("Attributes") or {}
                if owns_container(self._identity, told.get("name", ""), told):
                    yield str(actor["ID"])

    def containers(self) -> list[Container]:
        """List every container of this Keystone, including stopped ones."""
        with translated():
            found = self._client.containers.list(all=True, filters=self._ours, ignore_removed=True)
        return [values.read_container(each.attrs) for each in found if self._owns(each)]

    def output(self, container_id: str, *, tail: int, after: str = "") -> list[OutputLine]:
        """Give the last lines of a container's output, oldest first, at most 5000."""
        most = min(tail, MOST_OUTPUT_LINES)
        with translated(), Tolerated(NOT_FOUND):
            if most > 0 and (found := self._find_container(container_id)):
                api, timeout_s = self._client.api, self._timeout_s
                return last_lines(api, str(found.id), tail=most, after=after, timeout_s=timeout_s)
        return []

    def insides(self, container_id: str) -> Insides:
        """Look into a container, to explain why it is unhealthy."""
        with translated():
            found = self._find_container(container_id)
            return Insides() if found is None else look_inside(self._client.api, found.attrs)

    def keep_running(self, container_id: str, restart: Restart = Restart.ALWAYS) -> None:
        """Set the restart policy; start the container now if the policy would have restarted it."""
        with translated(), Tolerated(NOT_FOUND):
            if found := self._find_container(container_id):
                self._set_restart(found, restart)
                if values.is_to_run(found.attrs, restart):
                    found.start()

    def stop(self, container_id: str, *, grace_s: int) -> None:
        """Stop and remove a container; its named volumes stay."""
        with translated(), Tolerated(NOT_FOUND):
            if found := self._find_container(container_id):
                self._end(found, grace_s)
                self._remove(found)

    def halt(self, container_id: str, *, grace_s: int) -> None:
        """Stop a container and keep it."""
        with translated(), Tolerated(NOT_FOUND):
            if found := self._find_container(container_id):
                self._end(found, grace_s)

    def start_again(self, container_id: str) -> Container | None:
        """Start a halted container; it keeps its address."""
        with translated(), Tolerated(NOT_FOUND):
            if found := self._find_container(container_id):
                with start_errors():
                    found.start()
                found.reload()
                return values.read_container(found.attrs)
        return None

    # --- Only our own objects ----------------------------------------------------------------

    @property
    def _ours(self) -> dict[str, Any]:
        return values.owned_by(self._identity)

    def _labelled(self, labels: Mapping[str, str]) -> dict[str, str]:
        return {**labels, IDENTITY_LABEL: self._identity}

    def _find_container(self, name: str) -> DockerContainer | None:
        with Tolerated(NOT_FOUND):
            found = self._client.containers.get(name)
            return found if self._owns(found) else None
        return None

    def _owns(self, container: DockerContainer) -> bool:
        return owns_container(self._identity, str(container.name), container.labels)

    def _find_image(self, reference: str) -> DockerImage | None:
        with Tolerated(NOT_FOUND):
            found = self._client.images.get(reference)
            return found if found.labels.get(IDENTITY_LABEL) == self._identity else None
        return None

    # --- Helpers -----------------------------------------------------------------------------

    def _builder(self) -> Builder:
        api = self._client.api
        with translated():
            # The answer names the version; a build does not use the SDK, which would notice.
            podman = is_podman(api)
        return Builder(engine_address(api), api.api_version, self._config, is_podman=podman)

    def _make_volumes(self, spec: ContainerSpec) -> None:
        # Creating a volume that exists returns that volume with its contents.
        for name in spec.volumes.values():
            self._client.volumes.create(name, labels=self._labelled(spec.labels))

    def _start_at(self, spec: ContainerSpec, address: str) -> Container:
        with start_errors():
            container = self._create(spec, address)
            with ExitStack() as undo:
                undo.callback(self._remove, container)
                container.start()
                container.reload()
                undo.pop_all()
        return values.read_container(container.attrs)

    def _create(self, spec: ContainerSpec, address: str) -> DockerContainer:
        endpoint = self._client.api.create_endpoint_config(
            ipv4_address=address, mac_address=values.mac_of(address)
        )
        return self._client.containers.create(
            spec.image,
            name=spec.name,
            labels=self._labelled(spec.labels),
            network=spec.network,
            networking_config={spec.network: endpoint},
            log_config=LogConfig(type=LogConfig.types.JSON, config=values.LOG_LIMITS),
            **values.create_options(spec),
        )

    def _end(self, container: DockerContainer, grace_s: int) -> None:
        # Conflict: the container is already being removed.
        with Tolerated(CONFLICT):
            # An engine that is restarted in the meantime must not start the container again.
            self._set_restart(container, Restart.NEVER)
            container.stop(timeout=grace_s)

    def _set_restart(self, container: DockerContainer, restart: Restart) -> None:
        # Not found: Podman lacks this call. If the container is gone, the next call shows it.
        with Tolerated(NOT_FOUND):
            container.update(restart_policy={"Name": restart.value})  # type: ignore[arg-type]

    def _remove(self, container: DockerContainer) -> None:
        # Conflict: the container is already being removed, so wait below until it is gone.
        with Tolerated(NOT_FOUND, CONFLICT):
            # Also remove anonymous volumes, which only this container uses. Named volumes stay.
            container.remove(v=True, force=True)
        deadline = time.monotonic() + REMOVAL_DEADLINE_S
        while self._find_container(str(container.id)) is not None:
            if time.monotonic() > deadline:
                raise DockerError(f"the container {container.name} could not be removed")
            time.sleep(REMOVAL_POLL_S)
