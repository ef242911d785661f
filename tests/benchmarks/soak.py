"""Many deployments of one app: what Keystone keeps, and that it touches nothing else.

DEPLOYMENTS=n sets another number than 30. During all of them the engine also has a stranger's
image, container, volume and network.
"""

import os
import secrets
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

import docker

from tests.benchmarks.stand import Stand, standing
from tests.benchmarks.tables import say, show

KEPT = 5
MB = 1024 * 1024


@dataclass(frozen=True)
class Level:
    """What exists after that many deployments."""

    deployments: int
    restorable: int
    images: int
    running: int  # number of containers, like `stopped`
    stopped: int
    image_bytes: int


@dataclass(frozen=True)
class Seen:
    """The results of a soak test."""

    levels: list[Level]
    missing: list[str]  # of the stranger's things

    @property
    def is_level(self) -> bool:
        """Whether everything beyond the kept releases is removed each time, and disk use is stable.

        Keystone also keeps the stopped container to which a recovery would go back in the first
        minute of the newest release.
        """
        full = [level for level in self.levels if level.deployments > KEPT]
        return all(
            level.running == 1
            and level.stopped <= 1
            and level.restorable == KEPT
            and level.images - KEPT in {0, 1}
            and level.image_bytes <= 1.1 * (KEPT + 1) / KEPT * full[0].image_bytes
            for level in full
        )


def run() -> bool:
    """Deploy, print, and say whether the goals were met."""
    with standing() as stand, strangers() as stranger:
        seen = measure(stand, stranger, deployments=int(os.environ.get("DEPLOYMENTS", "30")))
    show(
        "Deployments of one app in a row",
        ["after", "restorable", "images", "running", "stopped", "MB of images"],
        [
            [
                *map(str, (at.deployments, at.restorable, at.images, at.running, at.stopped)),
                f"{at.image_bytes / MB:.1f}",
            ]
            for at in seen.levels
        ],
    )
    say(
        f"\n  of the stranger's things gone: {', '.join(seen.missing) or 'nothing'} (goal: nothing)"
    )
    return seen.is_level and not seen.missing


def measure(stand: Stand, stranger: "Stranger", *, deployments: int) -> Seen:
    """Deploy that many versions, and count after each of them."""
    project = stand.project("soak")
    ours = stand.keystone.belongings()
    levels = []
    for number in range(1, deployments + 1):
        deployed = project.push(project.commit(f"version {number}"))
        over = stand.wait_for_retired(deployed["id"])
        assert over["state"] == "success", over["reason"]
        listed = stand.keystone.api("GET", "/api/apps/soak/releases")["items"]
        # The live release counts too: after a rollback one can return to it.
        restorable = [each for each in listed if each["is_restorable"] or each["is_live"]]
        images = ours.images(project.name)
        running, stopped = ours.running(project.name), ours.stopped(project.name)
        levels.append(
            Level(
                number,
                len(restorable),
                len(images),
                len(running),
                len(stopped),
                stranger.size(images),
            )
        )
    return Seen(levels, stranger.missing())


class Stranger:
    """An image, a stopped container, a volume and a network of another user of the engine."""

    def __init__(self, client: docker.DockerClient) -> None:
        self._client = client
        self.name = f"stranger-{secrets.token_hex(4)}"

    def move_in(self) -> None:
        """Create all four."""
        api = self._client.api
        api.import_image_from_data(b"\0" * 10240, repository=self.name, tag="1")
        api.create_container(f"{self.name}:1", ["/none"], name=self.name)
        api.create_volume(self.name)
        api.create_network(self.name)

    def missing(self) -> list[str]:
        """Name those that no longer exist."""
        client = self._client
        found = {
            "image": client.images.list(name=self.name),
            "container": client.containers.list(all=True, filters={"name": self.name}),
            "volume": client.volumes.list(filters={"name": self.name}),
            "network": client.networks.list(names=[self.name]),
        }
        return [kind for kind, things in found.items() if not things]

    def size(self, tags: list[str]) -> int:
        """Add up the sizes of images, in bytes."""
        return sum(int(self._client.images.get(tag).attrs["Size"]) for tag in tags)

    def move_out(self) -> None:
        """Remove those that still exist."""
        api = self._client.api
        api.remove_container(self.name, force=True)
        api.remove_image(f"{self.name}:1")
        api.remove_volume(self.name)
        api.remove_network(self.name)


@contextmanager
def strangers() -> Iterator[Stranger]:
    """Keep a stranger's objects on the engine for the length of the block."""
    client = docker.from_env(timeout=60)
    with ExitStack() as at_the_end:
        at_the_end.callback(client.close)
        stranger = Stranger(client)
        stranger.move_in()
        at_the_end.callback(stranger.move_out)
        yield stranger
