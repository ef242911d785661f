"""The packet filter rules with the real iptables, in network namespaces of the test."""

import os
import secrets
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import pytest

from jobs.adapters.firewall import engine_group
from jobs.processes.runtime import open_runtime
from jobs.processes.supervise import keystone_command
from jobs.settings import Settings
from tests.enginebench import wait_until

pytestmark = [
    pytest.mark.skipif(os.geteuid() != 0, reason="network namespaces and iptables need root"),
]

MARK = "keystone-abcdef-metadata"
IPV4, IPV6 = "169.254.169.254", "fd00:ec2::254"
OTHER = "192.0.2.1"
SERVER = """
import select, socket
sockets = []
for address, port in (("169.254.169.254", 80), ("169.254.169.254", 53), ("192.0.2.1", 80)):
    sockets.append(socket.create_server((address, port)))
sockets.append(socket.create_server(("fd00:ec2::254", 80), family=socket.AF_INET6))
print("ready", flush=True)
while True:
    for waiting in select.select(sockets, [], [])[0]:
        waiting.accept()[0].close()
"""
REACH = """
import socket, sys
try:
    socket.create_connection((sys.argv[1], int(sys.argv[2])), timeout=20).close()
except ConnectionRefusedError:
    sys.exit(7)
"""
RULES = """
import sys
from pathlib import Path
from jobs.adapters.firewall import Firewall
firewall = Firewall("abcdef", engine_pid=Path(sys.argv[2]))
print(getattr(firewall, sys.argv[1])())
"""
UNBLOCK = """
import sys
from pathlib import Path
from jobs.processes.metadata import unblock_metadata
from jobs.processes.runtime import open_runtime
from jobs.settings import Settings
runtime = open_runtime(Settings(data_dir=Path(sys.argv[1])))
unblock_metadata(runtime.settings, runtime.identity)
"""


@dataclass
class Network:
    """Three network namespaces: a machine, a container on it, and the cloud around them."""

    host: str
    app: str
    cloud: str
    engine_pid: Path

    def on(self, place: str, *command: str) -> "subprocess.CompletedProcess[str]":
        """Run a command in a namespace."""
        nsenter = [program("nsenter"), f"--net=/var/run/netns/{place}"]
        return subprocess.run(
            [*nsenter, *command], capture_output=True, text=True, timeout=120, check=False
        )

    def reaches(self, place: str, address: str, port: int = 80) -> bool:
        """Whether a connection from that namespace succeeds."""
        done = self.on(place, sys.executable, "-c", REACH, address, str(port))
        assert done.returncode in {0, 7}, done.stderr
        return done.returncode == 0

    def rules(self, call: str) -> str:
        """Call a method of Keystone's firewall on the machine."""
        done = self.on(self.host, sys.executable, "-P", "-c", RULES, call, str(self.engine_pid))
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    def iptables(self, *words: str, version: int = 4) -> str:
        """Run iptables on the machine, as its operator would."""
        name = "iptables" if version == 4 else "ip6tables"
        done = self.on(self.host, program(name), "-w", "5", *words)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def ours(self) -> int:
        """Count the rules that contain our mark."""
        return sum(self.iptables("-S", version=version).count(MARK) for version in (4, 6))


def program(name: str) -> str:
    found = shutil.which(name, path=f"{os.environ['PATH']}:/usr/sbin:/sbin")
    assert found, f"{name} is not installed: apt-get install iptables iproute2"
    return found


def ip(*words: str) -> None:
    subprocess.run([program("ip"), *words], check=True, timeout=60)


@pytest.fixture
def network(tmp_path: Path) -> Iterator[Network]:
    """A machine that forwards its container's packets."""
    unique = secrets.token_hex(3)
    host, app, cloud = names = [f"ks-{kind}-{unique}" for kind in ("host", "app", "cloud")]
    try:
        for name in names:
            ip("netns", "add", name)
            ip("-n", name, "link", "set", "lo", "up")
        link(host, "app0", ("10.9.0.1/24", "fd09::1/64"), app, ("10.9.0.2/24", "fd09::2/64"))
        link(
            host,
            "cloud0",
            ("169.254.0.1/16", "fd00:ec2::1/64", "192.0.2.254/24"),
            cloud,
            (f"{IPV4}/16", f"{IPV6}/64", f"{OTHER}/24"),
        )
        default_routes(app, "10.9.0.1", "fd09::1")
        default_routes(cloud, "169.254.0.1", "fd00:ec2::1")
        network = Network(host, app, cloud, tmp_path / "docker.pid")
        for file in ("ipv4/ip_forward", "ipv6/conf/all/forwarding"):
            done = network.on(host, "/bin/sh", "-c", f"echo 1 > /proc/sys/net/{file}")
            assert done.returncode == 0, done.stderr
        with serving(network):
            yield network
    finally:
        for name in names:
            subprocess.run([program("ip"), "netns", "del", name], check=False, timeout=60)


def link(
    host: str, device: str, addresses: Sequence[str], other: str, its_addresses: Sequence[str]
) -> None:
    """Connect a device of this name on the machine with the `eth0` of another namespace."""
    pair = ("type", "veth", "peer", "eth0", "netns", other)
    ip("link", "add", device, "netns", host, *pair)
    for place, name, wanted in ((host, device, addresses), (other, "eth0", its_addresses)):
        for address in wanted:
            # Without it the kernel first checks an IPv6 address for duplicates, for a second.
            at_once = ("nodad",) if ":" in address else ()
            ip("-n", place, "address", "add", address, "dev", name, *at_once)
        ip("-n", place, "link", "set", name, "up")


def default_routes(place: str, *gateways: str) -> None:
    for gateway in gateways:
        ip("-n", place, "route", "add", "default", "via", gateway)


@contextmanager
def serving(network: Network) -> Iterator[None]:
    """Run the cloud's server for the length of the block."""
    nsenter = [program("nsenter"), f"--net=/var/run/netns/{network.cloud}"]
    with subprocess.Popen(
        [*nsenter, sys.executable, "-c", SERVER],
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout
        assert process.stdout.readline() == "ready\n"
        wait_until_reached(network)
        yield
        process.kill()


def wait_until_reached(network: Network) -> None:
    deadline = time.monotonic() + 60
    while not (network.reaches(network.app, IPV4) and network.reaches(network.app, IPV6)):
        assert time.monotonic() < deadline, "the network of the test does not work"
        time.sleep(0.1)


def test_only_the_metadata_service_is_blocked_for_containers(network: Network) -> None:
    assert network.rules("is_blocked") == "False"
    network.rules("block")
    assert network.rules("is_blocked") == "True"
    assert not network.reaches(network.app, IPV4)
    assert not network.reaches(network.app, IPV6)
    assert network.reaches(network.app, IPV4, 53), "it answers for names, too"
    assert network.reaches(network.app, OTHER)
    assert network.reaches(network.host, IPV4), "the machine's own programs may ask it"
    network.rules("unblock")
    assert network.reaches(network.app, IPV4)
    assert network.ours() == 0


def test_foreign_rules_stay_and_ours_are_added_once_to_dockers_user_chain(
    network: Network,
) -> None:
    network.iptables("-N", "DOCKER-USER")
    network.iptables("-A", "FORWARD", "-j", "DOCKER-USER")
    network.iptables("-A", "DOCKER-USER", "-s", "198.51.100.7", "-j", "DROP")
    before = network.iptables("-S")
    network.rules("block")
    once = network.ours()
    network.rules("block")
    assert network.ours() == once > 5
    assert network.iptables("-S", "DOCKER-USER").count(MARK) == network.iptables("-S").count(MARK)
    assert network.iptables("-S", "FORWARD", version=6).count(MARK) > 0
    assert not network.reaches(network.app, IPV4)
    network.rules("unblock")
    assert network.iptables("-S") == before


def test_flushed_rules_are_added_again(network: Network) -> None:
    network.rules("block")
    network.iptables("-F")
    assert network.rules("is_blocked") == "False"
    network.rules("block")
    assert not network.reaches(network.app, IPV4)


def test_the_rules_of_another_keystone_stay(network: Network) -> None:
    foreign = ("-d", IPV4, "-m", "comment", "--comment", "keystone-abcdeg-metadata", "-j", "REJECT")
    network.iptables("-A", "FORWARD", *foreign)
    network.rules("block")
    network.rules("unblock")
    assert network.iptables("-S").count("keystone-abcdeg-metadata") == 1


def test_the_firewall_process_adds_the_rules_and_a_start_without_it_removes_them(
    network: Network, tmp_path: Path
) -> None:
    environ = {"PATH": os.environ["PATH"], "KEYSTONE_DATA_DIR": str(tmp_path / "data")}
    nsenter = [program("nsenter"), f"--net=/var/run/netns/{network.host}"]
    open_runtime(Settings(data_dir=tmp_path / "data")).database.close()
    with subprocess.Popen([*nsenter, *keystone_command("firewall")], env=environ) as part:
        wait_until(lambda: not network.reaches(network.app, IPV4), within_s=120)
        network.iptables("-F")
        wait_until(lambda: not network.reaches(network.app, IPV4), within_s=120)
        part.terminate()
        assert part.wait(120) == 0
    assert not network.reaches(network.app, IPV4), "it stays, as the containers do"

    for _ in range(2):
        done = network.on(network.host, sys.executable, "-P", "-c", UNBLOCK, str(tmp_path / "data"))
        assert done.returncode == 0, done.stderr
    assert network.reaches(network.app, IPV4)
    assert "metadata" not in network.iptables("-S")


# --- The engine's own requests: ADD and FROM in a Dockerfile ----------------------------------


@pytest.fixture
def group() -> Iterator[Path]:
    """A control group of version 2."""
    trees = (Path("/sys/fs/cgroup/unified"), Path("/sys/fs/cgroup"))
    tree = next((tree for tree in trees if (tree / "cgroup.controllers").exists()), None)
    if tree is None:
        pytest.skip("this kernel has no control groups of version 2")
    folder = tree / f"keystone-test-{secrets.token_hex(4)}"
    folder.mkdir()
    yield folder
    with suppress(OSError):
        folder.rmdir()


def test_an_engine_with_its_own_group_cannot_reach_the_metadata_service(
    network: Network, group: Path
) -> None:
    entering = f"echo $$ > {group}/cgroup.procs; exec sleep 600"
    with subprocess.Popen(["/bin/sh", "-c", entering]) as engine:
        try:
            network.engine_pid.write_text(str(engine.pid))
            deadline = time.monotonic() + 60
            while engine_group(network.engine_pid) != group.name:
                assert time.monotonic() < deadline
                time.sleep(0.02)
            network.rules("block")
            from_engine = f'echo $$ > {group}/cgroup.procs; exec "$@"'
            inside = ["/bin/sh", "-c", from_engine, "sh", sys.executable, "-c", REACH]
            assert network.on(network.host, *inside, IPV4, "80").returncode == 7
            assert network.on(network.host, *inside, OTHER, "80").returncode == 0
            assert network.reaches(network.host, IPV4)
            network.rules("unblock")
            assert network.on(network.host, *inside, IPV4, "80").returncode == 0
        finally:
            engine.kill()


@pytest.mark.parametrize("told", ["", "nonsense", str(2**22 + 1)])
def test_an_engine_that_is_not_found_has_no_group(tmp_path: Path, told: str) -> None:
    file = tmp_path / "docker.pid"
    assert engine_group(file) == ""
    file.write_text(told)
    assert engine_group(file) == ""
