"""Finds the objects of a Keystone on the Docker Engine by its label, from outside Keystone."""

import json
from contextlib import suppress

import docker
import docker.errors

LABEL = "keystone.identity"


class Belongings:
    """The containers, networks and images that carry one identity."""

    def __init__(self, identity: str) -> None:
        self.identity = identity
        self._client = docker.from_env(timeout=60)
        self._ours = {"label": f"{LABEL}={identity}"}

    def containers(self, app: str | None = None) -> list[str]:
        """Give the names of all containers, or of one app's, including stopped ones."""
        return self._names(self._of(app))

    def running(self, app: str) -> list[str]:
        """Give the names of an app's running containers."""
        return self._names(self._of(app) | {"status": ["running"]})

    def stopped(self, app: str) -> list[str]:
        """Give the names of an app's stopped containers, to which a recovery could go back."""
        return sorted(set(self.containers(app)) - set(self.running(app)))

    def is_at_rest(self, app: str) -> bool:
        """Whether one container of an app runs, and all others are kept for a recovery."""
        return len(self.running(app)) == 1 and len(self.containers(app)) <= 2

    def networks(self) -> list[str]:
        """Give the names of the networks."""
        return sorted(found["Name"] for found in self._client.api.networks(filters=self._ours))

    def images(self, app: str | None = None) -> list[str]:
        """Give the tags of all images, or of one app's."""
        found = self._client.api.images(filters=self._of(app))
        return sorted(tag for image in found for tag in image["RepoTags"] or [image["Id"]])

    def everything(self) -> list[str]:
        """Give the names of all objects."""
        return [*self.containers(), *self.networks(), *self.images()]

    def described(self) -> str:
        """Give all that Docker reports of the containers and images, including image histories."""
        return f"{self.described_containers()}\n{self.described_images()}"

    def described_containers(self) -> str:
        """Give the output of `docker inspect` for the containers."""
        api = self._client.api
        return "\n".join(json.dumps(api.inspect_container(name)) for name in self.containers())

    def described_images(self) -> str:
        """Give the output of `docker inspect` and `docker history` for the images."""
        images = [self._client.images.get(tag) for tag in self.images()]
        return "\n".join(json.dumps([image.attrs, image.history()]) for image in images)

    def layers(self) -> bytes:
        """Give the contents of the images, as `docker save` would."""
        return b"".join(b"".join(self._client.api.get_image(tag)) for tag in self.images())

    def remove_container(self, name: str) -> None:
        """Remove one container, running or not."""
        self._client.api.remove_container(name, force=True)

    def remove_stopped(self, app: str) -> bool:
        """Remove an app's stopped containers; say whether none is left."""
        stopped = self.stopped(app)
        for name in stopped:
            # Keystone may be removing it at the same time.
            with suppress(docker.errors.APIError):
                self.remove_container(name)
        return not stopped

    def remove(self) -> None:
        """Remove all objects."""
        for name in self.containers():
            self.remove_container(name)
        for name in self.networks():
            self._client.api.remove_network(name)
        for tag in self.images():
            self._client.api.remove_image(tag, force=True)

    def close(self) -> None:
        """Close the connection to the engine."""
        self._client.close()

    def _names(self, filters: dict[str, list[str]]) -> list[str]:
        found = self._client.api.containers(all=True, filters=filters)
        return sorted(container["Names"][0].removeprefix("/") for container in found)

    def _of(self, app: str | None) -> dict[str, list[str]]:
        """Give the filter for this Keystone's objects, or for one app's."""
        return {"label": [self._ours["label"], *([f"keystone.app={app}"] if app else [])]}
