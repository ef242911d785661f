"""The build arguments and the frontend of a build, from the app's and the Dockerfile's words."""

from pydantic import SecretStr

from jobs.adapters.buildkit.client import build_args, used_frontend
from jobs.adapters.buildkit.control import FRONTEND, GATEWAY, solve_request
from jobs.adapters.buildkit.wire import Message
from jobs.rules.container_values import BuildSpec

SPEC = BuildSpec(
    "tag",
    "Dockerfile",
    args={"NPM_TOKEN": SecretStr("x")},
    offered={"KEYSTONE_COMMIT": "abc", "SOURCE_COMMIT": "abc", "KEYSTONE_APP": "web"},
    frontend="docker/dockerfile:1",
)


def plain(dockerfile: str, spec: BuildSpec = SPEC) -> dict[str, str]:
    given = build_args(spec, dockerfile)
    return {name: value.get_secret_value() for name, value in given.items()}


def test_only_declared_arguments_are_given() -> None:
    assert plain("FROM x\nARG KEYSTONE_COMMIT=none\n") == {
        "NPM_TOKEN": "x",
        "KEYSTONE_COMMIT": "abc",
    }
    assert plain("FROM x\n# ARG KEYSTONE_COMMIT\nRUN <<E\nARG SOURCE_COMMIT\nE\n") == {
        "NPM_TOKEN": "x"
    }


def test_the_apps_own_argument_wins() -> None:
    own = BuildSpec("tag", "D", args={"SOURCE_COMMIT": SecretStr("mine")}, offered=SPEC.offered)

    assert plain("ARG SOURCE_COMMIT", own) == {"SOURCE_COMMIT": "mine"}


def test_frontend_of_the_dockerfile_wins() -> None:
    assert used_frontend(SPEC, "FROM x") == "docker/dockerfile:1"
    assert used_frontend(SPEC, "# syntax=docker/dockerfile:1.4\nFROM x") == ""


def test_frontend_of_an_image_runs_by_the_gateway() -> None:
    own = Message(solve_request("r", "s", "t", {"filename": "D"}))
    other = Message(solve_request("r", "s", "t", {"filename": "D"}, "docker/dockerfile:1"))

    assert own.text(6) == FRONTEND
    assert other.text(6) == GATEWAY
    told = {entry.text(1): entry.text(2) for entry in other.messages(7)}
    assert told == {
        "filename": "D",
        "source": "docker/dockerfile:1",
        "cmdline": "docker/dockerfile:1",
    }
