"""What the Docker Engine's JSON means, and what it is told."""

from ipaddress import IPv4Network
from itertools import islice

import pytest
from pydantic import SecretStr

from jobs.adapters.docker import values
from jobs.errors import StartError
from jobs.rules.app_settings import ContainerSettings
from jobs.rules.container_values import ContainerSpec
from jobs.rules.reasons import LONGEST_QUOTED
from jobs.states import ContainerState

SPEC = ContainerSpec(
    name="c", image="i", network="n", labels={}, settings=ContainerSettings(container_port=8000)
)


def described(**state: object) -> dict[str, object]:
    """A container as the engine's `inspect` describes it."""
    usual = {"Running": True, "Restarting": False, "OOMKilled": False, "ExitCode": 0}
    return {
        "Id": "abc",
        "Name": "/web",
        "Config": {"Labels": None},
        "HostConfig": {"RestartPolicy": {"Name": "always", "MaximumRetryCount": 0}},
        "RestartCount": 2,
        "State": {**usual, "StartedAt": "2026-11-23T00:00:00Z", **state},
        "NetworkSettings": {
            "Networks": {"n": {"IPAddress": "", "IPAMConfig": {"IPv4Address": "10.201.0.2"}}}
        },
    }


def test_running_container_has_no_exit_code_yet() -> None:
    seen = values.read_container(described(Health={"Status": "starting"}))

    assert (seen.state, seen.exit_code) == (ContainerState.RUNNING, None)
    assert (seen.name, seen.restarts, seen.health) == ("web", 2, "starting")
    assert seen.restart == "always"


@pytest.mark.parametrize(
    ("config", "seconds"),
    [
        ({"Healthcheck": {"Test": ["CMD", "true"], "Interval": 300_000_000}}, 0.3),
        ({"Healthcheck": {"Test": ["CMD", "true"]}}, 30),
        ({"Healthcheck": None}, 30),
        ({}, 30),
    ],
)
def test_a_health_check_runs_first_after_its_interval(
    config: dict[str, object], seconds: float
) -> None:
    told = {**described(), "Config": {"Labels": None, **config}}
    assert values.read_container(told).first_health_s == seconds


def test_restarting_wins_over_running() -> None:
    seen = values.read_container(described(Restarting=True, ExitCode=3))

    assert (seen.state, seen.exit_code) == (ContainerState.RESTARTING, 3)


def test_container_that_ran_out_of_memory_says_so() -> None:
    seen = values.read_container(described(Running=False, OOMKilled=True, ExitCode=137))

    assert str(seen) == "was stopped because it was out of memory"


def test_stopped_container_keeps_its_promised_address() -> None:
    stopped = described(Running=False)

    assert values.read_container(stopped).ip == "10.201.0.2"
    assert values.address_on(stopped, "n") == "10.201.0.2"
    assert values.address_on(stopped, "other") == ""


def test_subnets_are_the_same_for_a_name_and_differ_between_names() -> None:
    first = list(values.subnets("a"))

    assert first == list(values.subnets("a"))
    assert first[0] != next(values.subnets("b"))
    assert len(set(first)) == values.MOST_SUBNET_TRIES
    assert all(each.subnet_of(values.NETWORKS) and each.prefixlen == 28 for each in first)


def test_addresses_leave_out_the_gateway_and_what_is_taken() -> None:
    free = values.free_addresses(IPv4Network("10.201.0.0/28"), {"10.201.0.2", ""})

    assert list(islice(free, 2)) == ["10.201.0.3", "10.201.0.4"]
    assert list(free)[-1] == "10.201.0.14"


def test_an_address_is_used_again_after_all_others() -> None:
    subnet, live = IPv4Network("10.201.0.0/28"), ""
    used = []
    for turn in range(100, 126):
        live = next(values.free_addresses(subnet, {live}, turn=turn))
        used.append(live)
    assert len(set(used[:13])) == 13
    assert used[13:] == used[:13]
    everything = values.free_addresses(subnet, {"10.201.0.7"}, turn=10**12 + 5)
    assert len(set(everything)) == 12


def test_an_address_always_has_the_same_hardware_address() -> None:
    assert values.mac_of("10.201.0.2") == "02:42:0a:c9:00:02"


def test_port_is_ours_whatever_the_app_sets() -> None:
    given = {"PORT": SecretStr("1"), "A": SecretStr("b")}

    assert values.environment(
        ContainerSpec(
            name="c",
            image="i",
            network="n",
            labels={},
            environment=given,
            settings=ContainerSettings(container_port=8000),
        )
    ) == {"PORT": "8000", "A": "b"}


@pytest.mark.parametrize("name", ["", "A=B"])
def test_impossible_variable_is_refused_without_its_value(name: str) -> None:
    spec = ContainerSpec(
        name="c",
        image="i",
        network="n",
        labels={},
        environment={name: SecretStr("s3")},
        settings=ContainerSettings(container_port=1),
    )

    with pytest.raises(StartError) as failure:
        values.environment(spec)
    assert "s3" not in str(failure.value)


def test_processor_limit_is_set_only_when_asked_for() -> None:
    assert "nano_cpus" not in values.create_options(SPEC)


@pytest.mark.parametrize(
    ("explanation", "reason"),
    [
        (
            'OCI runtime create failed: exec: "/x": stat /x: no such file or directory: unknown',
            'cannot run "/x": stat /x: no such file or directory',
        ),
        ("Minimum memory limit allowed is 6MB\n", "Minimum memory limit allowed is 6MB"),
    ],
)
def test_reason_is_what_matters_of_the_engines_sentence(explanation: str, reason: str) -> None:
    assert values.start_reason(explanation) == reason


def test_reason_is_bounded_and_leaves_secrets_whole() -> None:
    secret = "two  blanks and hunter2-hunter2"

    assert secret in values.start_reason(f'exec: "{"x" * 285}{secret}": no such file: unknown')
    assert secret in values.start_reason(f"{'x' * 285}{secret}\n")
    assert len(values.start_reason("x" * 10**6)) <= LONGEST_QUOTED
