"""Images and containers of the engine adapter, on the real Docker Engine."""

import http.client
import secrets
import signal as signals
import socket
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from ipaddress import IPv4Network
from pathlib import Path

import docker
import pytest
from docker.errors import APIError, NotFound
from pydantic import SecretStr

from jobs.adapters.docker.engine import DockerEngine
from jobs.adapters.docker.values import mac_of
from jobs.duties.trials import ends_counted
from jobs.errors import DockerError, StartError
from jobs.rules.app_settings import ContainerSettings
from jobs.rules.container_values import Container, ContainerSpec
from jobs.rules.naming import IDENTITY_LABEL, container_name, labels
from jobs.states import Capabilities, ContainerState, Restart
from tests.builders import with_settings
from tests.enginebench import IDENTITY, ODD_NAMES, build, dockerfile, tag_of, wait_until
from tests.images import DOCKERFILE, app_files

pytestmark = pytest.mark.docker


@pytest.fixture
def spec(image: str, network: str) -> Iterator[ContainerSpec]:
    """The specification of a working container; the container is stopped when the test ends."""
    deployment = 1 + secrets.randbelow(10**9)
    spec = ContainerSpec(
        name=container_name(IDENTITY, "web", deployment),
        image=image,
        network=network,
        labels=labels(IDENTITY, "web", deployment),
        settings=ContainerSettings(container_port=8100, memory_mb=64),
    )
    yield spec
    ours = DockerEngine.from_environment(IDENTITY)
    ours.stop(spec.name, grace_s=0)
    ours.close()


def get(container: Container, path: str, port: int = 8100) -> tuple[int, str]:
    """Send a request to a container, which may need a moment before it listens."""
    deadline = time.monotonic() + 60
    while True:
        connection = http.client.HTTPConnection(container.ip, port, timeout=60)
        try:
            connection.request("GET", path)
            answer = connection.getresponse()
            return answer.status, answer.read().decode()
        except ConnectionRefusedError:
            assert time.monotonic() < deadline, "the container never listened"
            time.sleep(0.02)
        finally:
            connection.close()


def wait_for(engine: DockerEngine, container: Container, state: ContainerState) -> Container:
    seen: list[Container] = []

    def is_there() -> bool:
        seen.append(engine.inspect(container.id))
        return seen[-1].state is state

    wait_until(is_there)
    return seen[-1]


def texts(engine: DockerEngine, container: Container, tail: int) -> list[str]:
    return [line.text for line in engine.output(container.id, tail=tail)]


# --- Images ----------------------------------------------------------------------------------


def test_unknown_image_is_none_and_its_removal_fine(engine: DockerEngine) -> None:
    assert engine.image_id("keystone-nobody/none:1") is None
    engine.remove_image("keystone-nobody/none:1")


def test_removed_tag_is_gone(engine: DockerEngine) -> None:
    tag = tag_of("gone")
    build(engine, dockerfile(), tag=tag)

    engine.remove_image(tag)

    assert engine.image_id(tag) is None


def test_image_in_use_stays(engine: DockerEngine, spec: ContainerSpec) -> None:
    engine.start(spec)

    engine.remove_image(spec.image)

    assert engine.image_id(spec.image) == spec.image


# --- Containers ------------------------------------------------------------------------------


def test_started_container_answers_at_its_own_address(
    engine: DockerEngine, spec: ContainerSpec
) -> None:
    odd = {name: SecretStr(f"{name}=x") for name in ODD_NAMES}
    environment = {"GREETING": SecretStr("hello"), "PORT": SecretStr("1"), **odd}
    started = engine.start(replace(spec, environment=environment))

    assert started.state is ContainerState.RUNNING
    assert started.ip.startswith("10.201.")
    assert get(started, "/version") == (200, "one")
    assert get(started, "/env?GREETING") == (200, "hello")
    assert get(started, "/env?PORT") == (200, "8100")
    assert [get(started, f"/env?{name}") for name in odd] == [(200, f"{name}=x") for name in odd]
    assert engine.inspect(started.id) == started
    assert started.labels[IDENTITY_LABEL] == IDENTITY


def test_container_has_every_limit_and_precaution(
    engine: DockerEngine, spec: ContainerSpec, client: docker.DockerClient
) -> None:
    started = engine.start(with_settings(spec, cpus=0.5, pids=99))
    host = client.containers.get(started.id).attrs["HostConfig"]

    assert host["Memory"] == host["MemorySwap"] == 64 * 2**20
    assert (host["NanoCpus"], host["PidsLimit"], host["Init"]) == (500_000_000, 99, True)
    assert (host["CapDrop"], len(host["CapAdd"])) == (["ALL"], 7)
    assert host["SecurityOpt"] == ["no-new-privileges"]
    assert host["RestartPolicy"]["Name"] == "no"
    assert host["LogConfig"]["Config"] == {"max-size": "10m", "max-file": "3"}
    assert not host["PortBindings"]
    assert not host["Privileged"]


def test_two_containers_of_an_app_run_at_once(engine: DockerEngine, spec: ContainerSpec) -> None:
    first = engine.start(spec)
    # Ten times the number, and more than the fixture ever uses.
    ours = labels(IDENTITY, "web", 10**10)
    second = engine.start(replace(spec, name=container_name(IDENTITY, "web", 10**10), labels=ours))

    assert first.ip != second.ip
    assert {first.id, second.id} <= {container.id for container in engine.containers()}
    engine.stop(second.id, grace_s=0)


def test_address_of_a_stopped_container_is_not_given(
    engine: DockerEngine, spec: ContainerSpec
) -> None:
    ended = engine.start(with_settings(spec, command=("/web", "exit", "0")))
    wait_for(engine, ended, ContainerState.EXITED)
    other = engine.start(replace(spec, name=f"{spec.name}-b"))

    assert other.ip not in {"", ended.ip}
    engine.stop(other.id, grace_s=0)


def test_the_next_deployment_gets_another_address_which_decides_the_hardware_address(
    engine: DockerEngine, spec: ContainerSpec, client: docker.DockerClient
) -> None:
    seen = []
    for deployment in (8001, 8002, 8003):
        name, ours = (
            container_name(IDENTITY, "web", deployment),
            labels(IDENTITY, "web", deployment),
        )
        started = engine.start(replace(spec, name=name, labels=ours))
        seen.append(started.ip)
        (endpoint,) = (
            client.containers.get(started.id).attrs["NetworkSettings"]["Networks"].values()
        )
        assert endpoint["MacAddress"] == mac_of(started.ip)
        engine.stop(started.id, grace_s=0)
    assert len(set(seen)) == 3


def test_full_network_is_a_docker_error(
    engine: DockerEngine, spec: ContainerSpec, client: docker.DockerClient
) -> None:
    (network,) = client.networks.list(names=[spec.network])
    subnet = IPv4Network(network.attrs["IPAM"]["Config"][0]["Subnet"])
    idle = [
        client.containers.create(
            spec.image,
            network=spec.network,
            networking_config={
                spec.network: client.api.create_endpoint_config(ipv4_address=str(address))
            },
        )
        for address in list(subnet.hosts())[1:]
    ]
    try:
        with pytest.raises(DockerError, match="no address left"):
            engine.start(spec)
    finally:
        for container in idle:
            container.remove()


def test_ended_container_tells_its_exit_code_and_last_words(
    engine: DockerEngine, spec: ContainerSpec
) -> None:
    started = engine.start(with_settings(spec, command=("/web", "exit", "3")))
    ended = wait_for(engine, started, ContainerState.EXITED)

    assert ended.exit_code == 3
    assert not ended.out_of_memory
    assert texts(engine, ended, 10) == ["exiting with code 3"]


def test_output_is_bounded_in_lines_and_in_their_length(
    engine: DockerEngine, spec: ContainerSpec
) -> None:
    started = engine.start(spec)
    get(started, "/health")
    for text in ("first", "x" * 1900 + "%ff", "last"):
        get(started, f"/say?{text}")

    wait_until(lambda: texts(engine, started, 1) == ["last"])
    assert engine.output(started.id, tail=0) == []
    assert texts(engine, started, 10**9)[:2] == ["listening on 8100", "first"]


def test_lines_that_the_engine_stores_in_pieces_are_counted_and_given_whole(
    engine: DockerEngine, spec: ContainerSpec
) -> None:
    # The engine stores 16 KiB in a piece: these three lines are twelve of them.
    longs = [letter * 60_000 for letter in "abc"]
    files = dockerfile("COPY long /long")
    files["long"] = "\n".join(["first", *longs, "last"])
    image = build(engine, files, tag=tag_of("long lines"))
    started = engine.start(
        with_settings(replace(spec, image=image), command=("/web", "cat", "/long"))
    )
    wait_for(engine, started, ContainerState.EXITED)

    wait_until(lambda: texts(engine, started, 1) == ["last"])
    for tail in (1, 2, 3, 4, 5, 50):
        assert texts(engine, started, tail) == ["first", *longs, "last"][-tail:]
    lines = engine.output(started.id, tail=50)
    assert [line.at for line in lines] == sorted(line.at for line in lines)
    assert engine.output(started.id, tail=50, after=lines[1].at) == lines[2:]


def test_what_is_on_standard_error_is_told_apart(engine: DockerEngine, spec: ContainerSpec) -> None:
    files = app_files("both", behaviour="exit 3")
    image = build(engine, files, tag=tag_of("both"))
    started = engine.start(replace(spec, image=image))
    wait_for(engine, started, ContainerState.EXITED)
    wait_until(lambda: bool(engine.output(started.id, tail=9)))
    assert [(line.text, line.is_error) for line in engine.output(started.id, tail=9)] == [
        ("told to exit with code 3", True)
    ]
    engine.stop(started.id, grace_s=0)
    started = engine.start(with_settings(spec, command=("/web", "say", "hi")))
    wait_for(engine, started, ContainerState.EXITED)
    wait_until(lambda: bool(engine.output(started.id, tail=9)))
    (line,) = engine.output(started.id, tail=9)
    assert (line.text, line.is_error) == ("hi", False)


def test_command_that_does_not_exist_ends_at_once_and_says_so(
    engine: DockerEngine, spec: ContainerSpec
) -> None:
    # Docker's init starts first, so the engine itself sees nothing wrong.
    started = engine.start(with_settings(spec, command=("/nope",)))
    ended = wait_for(engine, started, ContainerState.EXITED)

    assert ended.exit_code == 127
    assert "exec /nope failed: No such file" in texts(engine, ended, 1)[0]


@pytest.mark.parametrize(
    ("user", "told"), [("nosuchuser", "user nosuchuser"), ("0:nosuchgroup", "group nosuchgroup")]
)
def test_unknown_user_is_a_start_error_and_leaves_nothing_behind(
    engine: DockerEngine, spec: ContainerSpec, user: str, told: str
) -> None:
    nobody = build(engine, dockerfile(f"USER {user}", 'CMD ["/web"]'))

    with pytest.raises(StartError, match=f"^unable to find {told}"):
        engine.start(replace(spec, image=nobody))
    assert engine.inspect(spec.name).state is ContainerState.MISSING


def test_image_without_a_command_is_a_start_error(
    engine: DockerEngine, spec: ContainerSpec
) -> None:
    with pytest.raises(StartError, match=r"[Nn]o command specified"):
        engine.start(replace(spec, image=build(engine, dockerfile())))


def test_impossible_limit_is_a_start_error(engine: DockerEngine, spec: ContainerSpec) -> None:
    with pytest.raises(StartError, match="Minimum memory limit"):
        engine.start(with_settings(spec, memory_mb=1))


def test_missing_image_is_a_docker_error(engine: DockerEngine, spec: ContainerSpec) -> None:
    with pytest.raises(DockerError, match="No such image"):
        engine.start(replace(spec, image="keystone-nobody/none:1"))


def test_the_error_of_a_bad_variable_does_not_quote_its_value(
    engine: DockerEngine, spec: ContainerSpec
) -> None:
    with pytest.raises(StartError) as failure:
        engine.start(replace(spec, environment={"": SecretStr("geheim")}))
    assert "geheim" not in str(failure.value)


def test_name_that_is_taken_is_refused_and_its_owner_left_alone(
    engine: DockerEngine, spec: ContainerSpec
) -> None:
    first = engine.start(spec)

    with pytest.raises(DockerError, match=f"{spec.name}.* is already in use"):
        engine.start(spec)

    assert engine.inspect(first.id).state is ContainerState.RUNNING


def test_kept_container_is_started_again_by_the_engine(
    engine: DockerEngine, spec: ContainerSpec
) -> None:
    started = engine.start(spec)
    get(started, "/health")
    engine.keep_running(started.id)
    with pytest.raises(http.client.RemoteDisconnected):
        get(started, "/exit?code=4")
    wait_until(lambda: engine.inspect(started.id).restarts == 1)

    again = wait_for(engine, started, ContainerState.RUNNING)
    assert again.ip == started.ip
    assert get(again, "/version") == (200, "one")


@pytest.mark.parametrize(
    ("restart", "code", "state"),
    [
        (Restart.ALWAYS, 0, ContainerState.RUNNING),
        (Restart.ON_FAILURE, 3, ContainerState.RUNNING),
        (Restart.ON_FAILURE, 0, ContainerState.EXITED),
        (Restart.NEVER, 3, ContainerState.EXITED),
    ],
)
def test_container_that_exited_before_its_restart_policy_was_set_is_started(
    engine: DockerEngine, spec: ContainerSpec, restart: Restart, code: int, state: ContainerState
) -> None:
    started = engine.start(spec)
    get(started, "/health")
    with pytest.raises(http.client.RemoteDisconnected):
        get(started, f"/exit?code={code}")
    wait_for(engine, started, ContainerState.EXITED)
    engine.keep_running(started.id, restart)
    assert engine.inspect(started.id).state is state


def test_container_that_keeps_dying_is_restarting_not_running(
    engine: DockerEngine, spec: ContainerSpec
) -> None:
    started = engine.start(with_settings(spec, command=("/web", "sleep", "1")))
    engine.keep_running(started.id)
    dying = wait_for(engine, started, ContainerState.RESTARTING)

    assert dying.exit_code == 0
    engine.stop(started.id, grace_s=1)
    assert engine.inspect(started.id).state is ContainerState.MISSING


def test_app_chooses_privileges_stop_signal_and_restart(
    engine: DockerEngine, spec: ContainerSpec, client: docker.DockerClient
) -> None:
    started = engine.start(
        with_settings(
            spec,
            capabilities=Capabilities.NONE,
            new_privileges=True,
            init=False,
            stop_signal="SIGINT",
            cpus=None,
        )
    )
    engine.keep_running(started.id, Restart.ON_FAILURE)
    seen = client.containers.get(started.id).attrs

    assert not seen["HostConfig"]["CapAdd"]
    assert seen["HostConfig"]["CapDrop"] == ["ALL"]
    assert not seen["HostConfig"]["SecurityOpt"]
    assert seen["HostConfig"]["Init"] is False
    assert seen["Config"]["StopSignal"] == "SIGINT"
    assert seen["HostConfig"]["RestartPolicy"]["Name"] == "on-failure"
    assert engine.inspect(started.id).restart == Restart.ON_FAILURE


def test_the_images_stop_signal_is_used_unless_the_app_chooses_one(
    engine: DockerEngine, spec: ContainerSpec
) -> None:
    files = app_files("quits", dockerfile=f"{DOCKERFILE}STOPSIGNAL SIGQUIT\n")
    quits = replace(spec, image=build(engine, files, tag=tag_of("quits")))
    ended = {}
    for signal in (None, "SIGTERM"):
        started = engine.start(with_settings(quits, stop_signal=signal))
        get(started, "/health")
        engine.halt(started.id, grace_s=60)
        ended[signal] = engine.inspect(started.id).exit_code
        engine.stop(started.id, grace_s=0)
    # On SIGTERM this server ends its requests and exits; SIGQUIT ends it as the kernel does.
    assert ended == {None: 128 + signals.SIGQUIT, "SIGTERM": 0}


def test_what_an_image_says_of_its_container_is_kept(
    engine: DockerEngine, spec: ContainerSpec, client: docker.DockerClient
) -> None:
    said = """USER 1000:1000
WORKDIR /srv
VOLUME /srv/data
EXPOSE 8100 53/udp
ENV GREETING=hello
LABEL team=blue
STOPSIGNAL SIGQUIT
HEALTHCHECK --interval=7s --retries=2 CMD ["/web", "say", "hi"]
ENTRYPOINT ["/web"]
CMD ["sleep", "60"]
"""
    image = build(engine, app_files("x", dockerfile=f"{DOCKERFILE}{said}"), tag=tag_of("says"))
    made = client.containers.get(engine.start(replace(spec, image=image)).id).attrs["Config"]
    words = client.images.get(image).attrs["Config"]
    kept = ("User", "WorkingDir", "Volumes", "ExposedPorts", "StopSignal", "Healthcheck")
    for name in (*kept, "Entrypoint", "Cmd"):
        assert words[name], name
        assert made[name] == words[name], name
    assert "GREETING=hello" in made["Env"]
    assert made["Labels"]["team"] == "blue"


def test_shared_memory_and_ulimits_are_what_the_app_asks_for(
    engine: DockerEngine, spec: ContainerSpec, client: docker.DockerClient
) -> None:
    asked = with_settings(spec, shm_size_mb=32, ulimits=("nofile=1024:2048", "core=-1"))
    started = engine.start(asked)
    seen = client.containers.get(started.id).attrs["HostConfig"]
    assert seen["ShmSize"] == 32 * 1024 * 1024
    assert {(one["Name"], one["Soft"], one["Hard"]) for one in seen["Ulimits"]} == {
        ("nofile", 1024, 2048),
        ("core", -1, -1),
    }


def test_named_volume_survives_its_container(
    engine: DockerEngine, spec: ContainerSpec, client: docker.DockerClient
) -> None:
    volume = f"keystone-{IDENTITY}-web-data"
    kept = replace(spec, volumes={"/data": volume})
    writer = engine.start(with_settings(kept, command=("/web", "write", "/data/x", "still here")))
    wait_for(engine, writer, ContainerState.EXITED)
    engine.stop(writer.id, grace_s=0)
    reader = engine.start(with_settings(kept, command=("/web", "cat", "/data/x")))
    wait_for(engine, reader, ContainerState.EXITED)

    assert texts(engine, reader, 1) == ["still here"]
    assert client.volumes.get(volume).attrs["Labels"][IDENTITY_LABEL] == IDENTITY


def test_unnamed_volume_is_removed_with_its_container(
    engine: DockerEngine, spec: ContainerSpec, client: docker.DockerClient
) -> None:
    image = build(engine, dockerfile("VOLUME /scratch"), tag=tag_of("volume"))
    started = engine.start(replace(with_settings(spec, command=("/web",)), image=image))
    (mount,) = client.containers.get(started.id).attrs["Mounts"]

    engine.stop(started.id, grace_s=0)

    with pytest.raises(NotFound):
        client.volumes.get(mount["Name"])


def test_exits_are_counted_for_the_trial_of_a_release(engine: DockerEngine, network: str) -> None:
    """Two exits count as two, whether the engine waits for the restart or has just done it."""
    deployment = 1 + secrets.randbelow(10**9)
    files = app_files("one", dockerfile='FROM scratch\nCOPY web /web\nCMD ["/web", "exit", "3"]\n')
    spec = ContainerSpec(
        name=container_name(IDENTITY, "web", deployment),
        image=build(engine, files, tag=f"keystone-{IDENTITY}/web:ends"),
        network=network,
        labels=labels(IDENTITY, "web", deployment),
        settings=ContainerSettings(container_port=8100, memory_mb=64),
    )
    started = engine.start(spec)
    wait_for(engine, started, ContainerState.EXITED)
    assert ends_counted(engine.inspect(started.id)) == 1
    engine.keep_running(started.id)
    counted = [0]

    def has_ended_twice() -> bool:
        counted.append(ends_counted(engine.inspect(started.id)))
        return counted[-1] >= 2

    wait_until(has_ended_twice)
    # The count never decreases after the restart: no exit is counted and then taken back.
    after_the_start = counted[counted.index(0, 1) :] if 0 in counted[1:] else counted
    assert after_the_start == sorted(after_the_start)
    engine.stop(started.id, grace_s=0)


def test_stop_lets_running_requests_finish(engine: DockerEngine, spec: ContainerSpec) -> None:
    started = engine.start(spec)
    get(started, "/health")
    engine.keep_running(started.id)
    both = "".join(f"GET {path} HTTP/1.1\r\n\r\n" for path in ("/version", "/slow?ms=2000"))
    with socket.create_connection((started.ip, 8100), timeout=60) as visitor:
        visitor.sendall(both.encode())
        # The app has answered the first request, so it is working on the second one.
        assert visitor.recv(4096).endswith(b"one")

        engine.stop(started.id, grace_s=30)

        assert visitor.recv(4096).endswith(b"done\n")
    assert engine.inspect(started.id).state is ContainerState.MISSING


def test_missing_container_is_never_an_error(engine: DockerEngine) -> None:
    assert engine.inspect("0" * 64) == Container("0" * 64, ContainerState.MISSING)
    assert engine.output("0" * 64, tail=10) == []
    engine.keep_running("0" * 64)
    engine.stop("0" * 64, grace_s=1)
    engine.remove_network("keystone-nobody-none")


def test_foreign_containers_and_images_are_invisible(
    engine: DockerEngine, client: docker.DockerClient, image: str
) -> None:
    foreign = client.containers.create(image, name=f"foreign-{IDENTITY}", labels={})
    stranger = DockerEngine(client, "nobody")
    try:
        with pytest.raises(APIError):
            foreign.update(mem_limit="1m")  # proves that the SDK itself can change it
        for_us = stranger.inspect(str(foreign.id))
        stranger.keep_running(str(foreign.id))
        stranger.stop(str(foreign.id), grace_s=0)
        stranger.remove_image(image)
        foreign.reload()

        assert for_us.state is ContainerState.MISSING
        assert stranger.containers() == []
        assert stranger.images() == []
        assert stranger.image_id(image) is None
        assert foreign.attrs["HostConfig"]["RestartPolicy"]["Name"] != "always"
        assert engine.image_id(image) == image
    finally:
        foreign.remove(force=True)


# --- The engine itself -----------------------------------------------------------------------


def test_usage_counts_what_is_ours_and_all_build_cache(
    engine: DockerEngine, spec: ContainerSpec, client: docker.DockerClient
) -> None:
    engine.start(spec)
    usage = engine.usage()

    assert usage.images == len([image for image in engine.images() if image.tags])
    assert usage.containers == len(engine.containers()) >= 1
    assert usage.image_bytes > 500_000  # one web server at least
    assert usage.cache_bytes > 500_000
    stranger = DockerEngine(client, "nobody").usage()
    assert (stranger.images, stranger.image_bytes, stranger.containers) == (0, 0, 0)


def test_simultaneous_calls_all_get_the_usage() -> None:
    engines = [DockerEngine.from_environment(IDENTITY) for _ in range(6)]
    with ThreadPoolExecutor(len(engines)) as threads:
        found = list(threads.map(DockerEngine.usage, engines))
    for engine in engines:
        engine.close()
    assert len(found) == len(engines)


def test_version_is_the_engines_own(engine: DockerEngine, client: docker.DockerClient) -> None:
    assert engine.version() == client.version()["Version"]


def test_absent_engine_is_a_docker_error(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/none.sock")
    absent = DockerEngine.from_environment(IDENTITY)
    with pytest.raises(DockerError, match="does not answer; is it running"):
        absent.version()
    absent.close()
