"""health_check: asks until the container is healthy, and says what it saw when it is not."""

from functools import partial
from ipaddress import IPv4Address
from typing import Any

import pytest

from jobs.errors import DockerError
from jobs.rules.container_values import Insides, ProbeResult, UnwritableVolume
from jobs.rules.listeners import Listener
from jobs.rules.stopping import StopSignal
from jobs.states import ContainerState, DeploymentState
from jobs.steps.health_check import check_health
from tests.fakes import Behaviour
from tests.jobs.bench import FILES, Bench


def direct_looks(bench: Bench) -> list[str]:
    return [call for call in bench.world.calls("look") if call.startswith("look 10.201.")]


def test_the_container_is_probed_at_its_own_address(bench: Bench) -> None:
    bench.deploy(bench.app(container_port=9000))
    assert direct_looks(bench) == ["look 10.201.0.3:9000"]


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """A time that passes by waiting alone, however busy the machine is."""
    passed = [0.0]

    def wait(stop: StopSignal, seconds: float) -> None:
        passed[0] += seconds
        stop.check()

    monkeypatch.setattr(StopSignal, "wait", wait)
    monkeypatch.setattr("jobs.deploy.check_health", partial(check_health, clock=lambda: passed[0]))
    return passed


def test_the_deadline_is_kept(bench: Bench, clock: list[float]) -> None:
    app = bench.app(health_timeout_s=1)
    bench.world.engine.behaviour = Behaviour(unhealthy=True)
    done = bench.run(bench.push(app))
    assert done.reason.startswith(
        "GET / on port 8000 was not healthy within 1 s; last seen: status"
    )
    assert clock == [1]  # and not the 30 s of an app that says nothing
    # Short pauses at first, longer ones later: neither idle nor a storm.
    assert 5 < len(direct_looks(bench)) < 40


@pytest.mark.usefixtures("clock")
def test_the_last_look_may_take_as_long_as_an_answer_takes(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    look, given = bench.world.probe.look, []

    def note(*args: Any, timeout_s: float, **options: Any) -> ProbeResult:  # noqa: ANN401
        given.append(timeout_s)
        return look(*args, timeout_s=timeout_s, **options)

    monkeypatch.setattr(bench.world.probe, "look", note)
    bench.world.engine.behaviour = Behaviour(unhealthy=True)
    bench.run(bench.push(bench.app(health_timeout_s=1)))
    assert len(given) > 1
    assert min(given) == 1


def test_a_container_that_ends_is_not_waited_for(bench: Bench) -> None:
    app = bench.app(health_timeout_s=600)
    bench.world.engine.behaviour = Behaviour(unhealthy=True)

    def end(_about: str) -> None:
        for container_id in list(bench.world.engine.all_containers):
            bench.world.engine.crash(container_id, ContainerState.EXITED, exit_code=9)

    bench.world.probe.on("look", end)
    done = bench.run(bench.push(app))
    assert done.reason == "the container exited with code 9 before it was healthy"


def test_the_last_words_of_a_container_are_in_the_reason(bench: Bench) -> None:
    output = ("first", "\x1b[31mexec /nope failed:\x1b[0m No such file", " ")
    bench.world.engine.behaviour = Behaviour(exits=127, output=output)
    done = bench.run(bench.push(bench.app()))
    assert done.reason == (
        "the container exited with code 127 before it was healthy; "
        "it wrote: exec /nope failed: No such file"
    )


def test_a_secret_is_masked_before_the_last_words_are_cut(bench: Bench) -> None:
    secret = "ghp_secretsecretsecret"
    bench.world.engine.behaviour = Behaviour(exits=1, output=(f"{'x' * 190} {secret} tail",))
    app = bench.app(token=secret)
    bench.repository().token = secret
    done = bench.run(bench.push(app))
    assert done.reason.endswith("x [REDACTED")
    assert "ghp_" not in done.reason


def test_a_container_that_somebody_removed_fails_the_check(bench: Bench) -> None:
    app = bench.app(health_timeout_s=600)
    bench.world.probe.on("look", lambda _: bench.world.engine.all_containers.clear())
    done = bench.run(bench.push(app))
    assert done.reason == "the container does not exist any more before it was healthy"


def test_several_good_looks_in_a_row_may_be_asked_for(bench: Bench) -> None:
    bench.deploy(bench.app(health_successes=3))
    assert len(direct_looks(bench)) == 3


def test_a_status_outside_the_apps_range_is_not_healthy(bench: Bench) -> None:
    app = bench.app(health_path="/health", health_status="204", health_timeout_s=1)
    done = bench.run(bench.push(app))
    assert done.state is DeploymentState.FAILURE
    assert done.reason.endswith("last seen: status 200 for Host localhost")


def test_an_app_is_asked_for_its_first_domain(bench: Bench) -> None:
    bench.deploy(bench.app(domains=["*.example.com", "www.example.com", "example.com"]))
    assert {request.host for request in bench.world.probe.requests} == {"www.example.com"}
    assert not any(request.is_https for request in bench.world.probe.requests)


def test_an_app_without_a_domain_is_asked_for_localhost(bench: Bench) -> None:
    bench.deploy(bench.app())
    # The first one directly, the second one through the router.
    assert [request.host for request in bench.world.probe.requests] == ["localhost"] * 2


def test_an_app_may_choose_the_host_that_it_is_asked_for(bench: Bench) -> None:
    bench.world.engine.behaviour = Behaviour(allows_host="in.example:8080")
    app = bench.app(domains=["a.example.com"], health_host="in.example:8080", health_path="/up")
    bench.deploy(app)


@pytest.mark.usefixtures("clock")
def test_a_refused_host_is_named_with_the_answer_and_what_to_do(bench: Bench) -> None:
    bench.world.engine.behaviour = Behaviour(
        allows_host="app.example.com", says="Invalid HTTP_HOST header"
    )
    done = bench.run(bench.push(bench.app(health_path="/up")))
    assert done.reason == (
        "GET /up on port 8000 was not healthy within 30 s; last seen: status 400 for Host "
        "localhost: Invalid HTTP_HOST header; the app refuses the Host localhost: allow it there "
        "(ALLOWED_HOSTS, config.hosts …), or `keystone app set web --health-host` one that it "
        "allows"
    )


@pytest.mark.usefixtures("clock")
def test_a_refusal_that_is_in_the_log_alone_is_found(bench: Bench) -> None:
    bench.world.engine.behaviour = Behaviour(
        allows_host="app.example.com", says="Bad Request (400)", output=("Blocked hosts: x", "ok")
    )
    done = bench.run(bench.push(bench.app(health_path="/up")))
    assert "localhost: Bad Request (400); the app refuses the Host localhost" in done.reason


@pytest.mark.usefixtures("clock")
def test_an_answer_is_quoted_without_its_secrets(bench: Bench) -> None:
    secret = "ghp_secretsecretsecret"
    bench.world.engine.behaviour = Behaviour(unhealthy=True, says=f"{'x' * 190} {secret} \x1b[2J")
    app = bench.app(token=secret)
    bench.repository().token = secret
    done = bench.run(bench.push(app))
    assert done.reason.endswith("x [REDACTED")


def test_an_image_with_a_health_check_of_its_own_is_reached_from_outside_too(bench: Bench) -> None:
    app = bench.app(health_timeout_s=1)
    bench.world.engine.behaviour = Behaviour(docker_health="healthy")
    assert bench.run(bench.push(app)).state is DeploymentState.SUCCESS
    assert len(direct_looks(bench)) == 1


def test_an_image_whose_own_health_check_goes_well_is_no_use_where_nobody_reaches_it(
    bench: Bench,
) -> None:
    app = bench.app(health_timeout_s=1)
    bench.world.engine.behaviour = Behaviour(docker_health="healthy", unhealthy=True)
    done = bench.run(bench.push(app))
    assert done.state is DeploymentState.FAILURE
    assert done.reason.startswith(
        "GET / on port 8000 was not healthy within 1 s; last seen: status"
    )


def test_an_image_whose_own_health_check_goes_wrong_is_not_asked(bench: Bench) -> None:
    app = bench.app(health_timeout_s=1)
    bench.world.engine.behaviour = Behaviour(docker_health="unhealthy")
    done = bench.run(bench.push(app))
    assert done.state is DeploymentState.FAILURE
    assert done.reason == (
        "the image's own health check was not healthy within 1 s; "
        "last seen: Docker's health check says unhealthy"
    )
    assert direct_looks(bench) == []


def test_the_time_runs_from_the_first_look_of_dockers(bench: Bench) -> None:
    app = bench.app(health_timeout_s=1)
    bench.world.engine.behaviour = Behaviour(docker_health="starting", first_health_s=1.5)
    done = bench.run(bench.push(app))
    assert done.reason.startswith("the image's own health check was not healthy within 3 s; ")


def test_silence_is_said_to_be_silence(bench: Bench) -> None:
    bench.world.engine.behaviour = Behaviour(exits=0)
    done = bench.run(bench.push(bench.app()))
    assert "it wrote nothing" in bench.log(done.id or 0)


INSIDE = Insides(listeners=(Listener(IPv4Address("0.0.0.0"), 3000),))
UNWRITABLE = Insides(unwritable=(UnwritableVolume("/srv/my data", "app:app", owner=0),))


@pytest.mark.usefixtures("clock")
def test_a_wrong_port_is_named_with_the_command_that_mends_it(bench: Bench) -> None:
    bench.world.engine.behaviour = Behaviour(unhealthy=True, insides=INSIDE)
    done = bench.run(bench.push(bench.app(health="tcp", container_port=8000)))
    assert done.reason == (
        "port 8000 was not healthy within 30 s; last seen: connection refused; "
        "it listens on port 3000: `keystone app set web --container-port 3000`"
    )


@pytest.mark.usefixtures("clock")
def test_where_nobody_can_look_inside_the_exposed_ports_are_told(bench: Bench) -> None:
    bench.world.engine.behaviour = Behaviour(unhealthy=True)
    app = bench.app(health="tcp", container_port=8000)
    sha = bench.repository().commit({**FILES, "Dockerfile": "FROM scratch\nEXPOSE 3000\n"})
    done = bench.run(bench.ask(app, sha=sha))
    assert done.reason.endswith(
        "refused; its image EXPOSEs port 3000: `keystone app set web --container-port 3000`"
    )


@pytest.mark.usefixtures("clock")
def test_an_app_that_answers_has_the_right_port(bench: Bench) -> None:
    bench.world.engine.behaviour = Behaviour(unhealthy=True, insides=INSIDE)
    done = bench.run(bench.push(bench.app()))
    assert done.reason.endswith("last seen: status 503 for Host localhost")


@pytest.mark.usefixtures("clock")
def test_an_engine_that_fails_at_the_explanation_hides_no_failure(bench: Bench) -> None:
    def fail(_about: str) -> None:
        raise DockerError("the Docker Engine does not answer")

    bench.world.engine.behaviour = Behaviour(unhealthy=True, insides=INSIDE)
    bench.world.engine.on("insides", fail)
    done = bench.run(bench.push(bench.app(health="tcp")))
    assert done.state is DeploymentState.FAILURE
    assert done.reason.endswith("last seen: connection refused")


@pytest.mark.parametrize(
    "line",
    [
        "Error: EACCES: permission denied, open '/srv/my data/x'",
        "sqlite3.OperationalError: unable to open database file",
    ],
)
def test_a_volume_that_the_image_cannot_write_is_named_with_what_mends_it(
    bench: Bench, line: str
) -> None:
    bench.world.engine.behaviour = Behaviour(
        exits=1, output=(line,), errors=(line,), insides=UNWRITABLE
    )
    done = bench.run(bench.push(bench.app()))
    assert done.reason == (
        f"the container exited with code 1 before it was healthy; it wrote: {line}; the volume at "
        "/srv/my data belongs to root, and the image runs as app: add `RUN mkdir -p '/srv/my data' "
        "&& chown app '/srv/my data'` to the Dockerfile, before USER and VOLUME; the volume takes "
        "over that owner while it is empty"
    )


def test_an_app_that_fails_otherwise_is_told_nothing_of_its_volumes(bench: Bench) -> None:
    bench.world.engine.behaviour = Behaviour(exits=1, output=("no database",), insides=UNWRITABLE)
    done = bench.run(bench.push(bench.app()))
    assert done.reason.endswith("it wrote: no database")


def test_an_image_with_an_init_of_its_own_is_recognised(bench: Bench) -> None:
    line = "s6-overlay-suexec: fatal: can only run as pid 1"
    bench.world.engine.behaviour = Behaviour(exits=100, output=(line,), errors=(line,))
    done = bench.run(bench.push(bench.app()))
    assert done.reason.endswith("an init of its own: `keystone app set web --no-init`")
    done = bench.run(bench.push(bench.app("api", repository="octo/web", init=False)))
    assert done.reason.endswith(f"it wrote: {line}")


def test_the_cause_on_standard_error_is_quoted_not_the_last_line(bench: Bench) -> None:
    output = ("Error: no DATABASE_URL", "    at main.js:1", "npm ERR! code 1", "goodbye")
    bench.world.engine.behaviour = Behaviour(exits=1, output=output, errors=output[:3])
    done = bench.run(bench.push(bench.app()))
    assert done.reason.endswith("; it wrote: Error: no DATABASE_URL")
    log = bench.log(done.id or 0)
    places = [log.index(line) for line in output]
    assert places == sorted(places)
