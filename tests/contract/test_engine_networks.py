"""The apps' networks on the real Docker Engine: one small network with our labels for each app."""

import threading
from contextlib import suppress

import docker
import pytest
from docker.errors import APIError
from docker.types import IPAMConfig, IPAMPool

from jobs.adapters.docker.engine import DockerEngine
from jobs.adapters.docker.values import subnets
from jobs.errors import DockerError
from jobs.rules.naming import labels
from tests.enginebench import IDENTITY

pytestmark = pytest.mark.docker


def test_network_gets_a_small_subnet_and_our_labels(
    network: str, client: docker.DockerClient
) -> None:
    (made,) = client.networks.list(names=[network])
    subnet = made.attrs["IPAM"]["Config"][0]["Subnet"]

    assert subnet.startswith("10.201.")
    assert subnet.endswith("/28")
    assert made.attrs["Labels"] == {"keystone.identity": IDENTITY, "keystone.app": "web"}


def test_existing_network_is_reused(
    engine: DockerEngine, network: str, client: docker.DockerClient
) -> None:
    (before,) = client.networks.list(names=[network])
    engine.ensure_network(network, labels(IDENTITY, "web"))
    (after,) = client.networks.list(names=[network])

    assert before.id == after.id


def test_used_subnet_is_skipped(engine: DockerEngine, client: docker.DockerClient) -> None:
    name = f"keystone-{IDENTITY}-crowded"
    first = next(subnets(name))
    pool = IPAMPool(subnet=str(first))
    ipam = IPAMConfig(pool_configs=[pool])
    blocker = None
    with suppress(APIError):  # a network of another test may already use this subnet
        blocker = client.networks.create(f"foreign-{IDENTITY}", ipam=ipam)
    try:
        engine.ensure_network(name, labels(IDENTITY, "crowded"))
        (made,) = client.networks.list(names=[name])
        assert made.attrs["IPAM"]["Config"][0]["Subnet"] != str(first)
    finally:
        if blocker is not None:
            blocker.remove()
        engine.remove_network(name)
    assert client.networks.list(names=[name]) == []


def test_simultaneous_callers_make_one_network(client: docker.DockerClient) -> None:
    name = f"keystone-{IDENTITY}-race"
    engines = [DockerEngine.from_environment(IDENTITY) for _ in range(4)]
    threads = [
        threading.Thread(target=each.ensure_network, args=(name, labels(IDENTITY, "race")))
        for each in engines
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)

    assert len(client.networks.list(names=[name])) == 1
    engines[0].remove_network(name)
    for each in engines:
        each.close()


def test_network_that_a_stranger_is_on_stays_until_they_leave(
    engine: DockerEngine, image: str, client: docker.DockerClient
) -> None:
    name = f"keystone-{IDENTITY}-shared"
    engine.ensure_network(name, labels(IDENTITY, "shared"))
    stranger = client.containers.run(image, network=name, detach=True)
    try:
        engine.remove_network(name)
        assert len(client.networks.list(names=[name])) == 1
    finally:
        stranger.remove(force=True)
    engine.remove_network(name)
    assert client.networks.list(names=[name]) == []


def test_foreign_network_is_neither_used_nor_removed(
    engine: DockerEngine, client: docker.DockerClient
) -> None:
    foreign = client.networks.create(f"foreign-{IDENTITY}")
    try:
        engine.remove_network(str(foreign.name))
        with pytest.raises(DockerError, match="already exists"):
            engine.ensure_network(str(foreign.name), labels(IDENTITY, "web"))
        foreign.reload()
    finally:
        foreign.remove()
