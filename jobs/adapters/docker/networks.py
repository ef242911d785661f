"""The apps' networks, one for each app, with addresses that Keystone chooses."""

from collections.abc import Iterator, Mapping
from ipaddress import IPv4Network
from typing import Any

import docker
from docker.errors import APIError
from docker.models.networks import Network as DockerNetwork
from docker.types import IPAMConfig, IPAMPool

from jobs.adapters.docker import values
from jobs.adapters.docker.failures import CONFLICT, FORBIDDEN, NOT_FOUND, Tolerated
from jobs.errors import DockerError
from jobs.rules.naming import owns_network


class Networks:
    """The networks of one Keystone on an engine. The SDK's errors pass through."""

    def __init__(self, client: docker.DockerClient, identity: str) -> None:
        self._client = client
        self._identity = identity
        self._ours = values.owned_by(identity)

    def ensure(self, name: str, labels: Mapping[str, str]) -> None:
        """Create the app's own network, unless it exists."""
        found = self._find(name)
        if not found:
            self._make(name, labels)
            found = self._find(name)
        # The engine lets concurrent callers create several networks of one name: keep the oldest.
        for duplicate in found[1:]:
            with Tolerated(NOT_FOUND, FORBIDDEN):
                duplicate.remove()

    def every(self) -> list[Mapping[str, str]]:
        """Give the labels of every network of this Keystone."""
        found: list[dict[str, Any]] = self._client.api.networks(filters=self._ours)
        return [
            network["Labels"]
            for network in found
            if owns_network(self._identity, network["Name"], network["Labels"])
        ]

    def remove(self, name: str) -> None:
        """Remove an app's network, unless a foreign container uses it."""
        for network in self._find(name):
            with Tolerated(NOT_FOUND, FORBIDDEN):
                network.remove()

    def _find(self, name: str) -> list[DockerNetwork]:
        """Give our networks of that name, the oldest first."""
        # The engine's name filter also matches parts of names.
        found = self._client.networks.list(names=[name], filters=self._ours)
        exact = (
            network
            for network in found
            if network.name == name
            and owns_network(self._identity, name, network.attrs["Labels"] or {})
        )
        return sorted(exact, key=lambda network: (network.attrs["Created"], network.id))

    def _make(self, name: str, labels: Mapping[str, str]) -> None:
        for subnet in values.subnets(name):
            # Forbidden: the subnet overlaps with that of another network.
            with Tolerated(FORBIDDEN):
                self._make_in(subnet, name, labels)
                return
        raise DockerError(f"there is no subnet left in {values.NETWORKS} for the network {name}")

    def _make_in(self, subnet: IPv4Network, name: str, labels: Mapping[str, str]) -> None:
        pool = IPAMPool(subnet=str(subnet), gateway=str(subnet[1]))
        try:
            # Not `networks.create`: it reads the new network back, which a concurrent caller may
            # have removed.
            self._client.api.create_network(
                name,
                driver="bridge",
                check_duplicate=True,
                ipam=IPAMConfig(pool_configs=[pool]),
                labels=dict(labels),
            )
        except APIError as exc:
            # Conflict: a concurrent caller has created the same network.
            if exc.status_code != CONFLICT or not self._find(name):
                raise

    def free_addresses(self, network: str, *, turn: int) -> Iterator[str]:
        """Give the unused addresses of a network, beginning with another one at each turn."""
        found = self._find(network)
        if not found:
            raise DockerError(f"there is no network {network} of this Keystone")
        subnet = IPv4Network(found[0].attrs["IPAM"]["Config"][0]["Subnet"])
        # Stopped containers count too: the engine gives them their old address again.
        others = self._client.containers.list(all=True, sparse=True, filters={"network": network})
        taken = {values.address_on(other.attrs, network) for other in others}
        return values.free_addresses(subnet, taken, turn=turn)
