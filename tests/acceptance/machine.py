"""The Docker Engine as an operator of the machine sees it: an app's container and images."""

from contextlib import suppress
from typing import Any

import docker
from docker.errors import ImageNotFound
from docker.models.containers import Container
from docker.models.images import Image

from tests.acceptance.belongings import LABEL
from tests.acceptance.keystone import ANSWER_WITHIN_S, Keystone, until

APP_LABEL = "keystone.app"


class Machine:
    """Reads and changes an app's container and images."""

    def __init__(self, keystone: Keystone) -> None:
        self.client = docker.from_env(timeout=60)
        belongings = keystone.belongings()
        self._identity = belongings.identity
        belongings.close()

    def close(self) -> None:
        """Close the connection to the engine."""
        self.client.close()

    def container(self, app: str) -> Container:
        """Give the app's one running container, once the earlier ones have ended."""

        def alone() -> list[Container]:
            found: list[Container] = self.client.containers.list(
                filters=self._of(app), ignore_removed=True
            )
            return found if len(found) == 1 else []

        (container,) = until(alone, timeout=ANSWER_WITHIN_S, what=f"one container of {app} runs")
        return container

    def containers(self, app: str) -> list[Container]:
        """Give the app's running containers, the warm one too."""
        found: list[Container] = self.client.containers.list(
            filters=self._of(app), ignore_removed=True
        )
        return found

    def run_inside(self, app: str, *command: str) -> str:
        """Run a command in the app's container, and give what it prints."""
        code, output = self.container(app).exec_run(list(command))
        assert code == 0, output
        assert isinstance(output, bytes)
        return output.decode()

    def limits(self, app: str) -> dict[str, Any]:
        """Give the limits that the engine applies to the app's container."""
        found: dict[str, Any] = self.container(app).attrs["HostConfig"]
        return found

    def images(self, app: str) -> list[Image]:
        """Give the app's images."""
        found: list[Image] = self.client.images.list(filters=self._of(app))
        return found

    def image_tags(self, app: str) -> list[str]:
        """Give the tags of the app's images."""
        # One request, because `images` requests each image and one may be removed meanwhile.
        found = self.client.api.images(filters=self._of(app))
        return sorted(tag for image in found for tag in image["RepoTags"] or [])

    def image_contents(self, app: str) -> str:
        """Give the layers, configuration and history of the app's images."""
        return until(lambda: self._read_images(app), timeout=60, what=f"{app} has images")

    def _read_images(self, app: str) -> str:
        """Read the app's images; "" if one was removed meanwhile."""
        with suppress(ImageNotFound):
            return self._image_contents(app)
        return ""

    def _image_contents(self, app: str) -> str:
        told: list[str] = []
        for image in self.images(app):
            layers = b"".join(image.save())
            told += [repr(image.attrs), repr(image.history()), layers.decode("latin-1")]
        return "\n".join(told)

    def _of(self, app: str) -> dict[str, str | list[str] | bool]:
        return {"label": [f"{LABEL}={self._identity}", f"{APP_LABEL}={app}"]}
