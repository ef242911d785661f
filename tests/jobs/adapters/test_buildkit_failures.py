"""The sentence a failed build ends with, from what engines of different versions say."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobs.adapters.buildkit.failures import (
    CLIPPED,
    NO_DNS,
    OLD_FRONTEND,
    Known,
    build_failure,
    told_error,
)
from jobs.adapters.buildkit.trace import Vertex
from jobs.errors import BuildError, DockerError
from jobs.rules.reasons import LONGEST_QUOTED


def step(name: str, error: str) -> Vertex:
    return Vertex("a", name, started_s=1, completed_s=2, error=error)


@pytest.mark.parametrize(
    "error",
    [
        "executor failed running [/bin/sh -c make]: exit code: 2",
        'process "/bin/sh -c make" did not complete successfully: exit code: 2',
    ],
)
def test_failed_command_is_named_with_its_exit_code(error: str) -> None:
    failure = build_failure("failed to solve", step("[build 2/3] RUN make", error))

    assert isinstance(failure, BuildError)
    assert str(failure) == 'the build failed at "RUN make": exit code 2'


def test_missing_base_image_is_named() -> None:
    failed = step("[internal] load metadata for registry.test/no:1", "pull access denied")

    assert str(build_failure("failed to solve", failed)) == (
        "the base image registry.test/no:1 could not be pulled: it does not exist, or its registry "
        "wants a login (`docker login` on this machine, as Keystone's user) (pull access denied)"
    )


BLOB = "https://registry-1.docker.io/v2/library/debian/manifests/sha256:58ce6f1271ae1c8a2006ff7d3e"
HEAD = 'failed to do request: Head "https://registry-1.docker.io/v2/library/node/manifests/lts": '
OUTAGES = [
    # Docker Engine 20.10, by its BuildKit
    (
        "pulling from host registry-1.docker.io failed with status code [manifests 20.10]: "
        "429 Too Many Requests"
    ),
    "pulling from host registry-1.docker.io failed with status code [manifests 1]: 502 Bad Gateway",
    "unexpected status code [manifests latest]: 503 Service Unavailable",
    (
        "failed to authorize: failed to fetch anonymous token: unexpected status: "
        "503 Service Unavailable"
    ),
    "failed to authorize: failed to fetch oauth token: unexpected status: 429 Too Many Requests",
    f"{HEAD}dial tcp: lookup registry-1.docker.io on 172.30.0.2:53: no such host",
    (
        f"{HEAD}dial tcp: lookup registry-1.docker.io on 172.30.0.2:53: read udp "
        "172.30.0.1:42638->172.30.0.2:53: i/o timeout"
    ),
    f"{HEAD}dial tcp 127.0.0.1:1: connect: connection refused",
    f"{HEAD}net/http: TLS handshake timeout",
    f"{HEAD}EOF",
    (
        f"failed to copy: httpReadSeeker: failed open: failed to do request: Get {'x' * 600}: "
        "dial tcp: lookup cdn.test: no such host"
    ),
    f"{HEAD}read tcp 10.0.0.2:41414->44.205.64.79:443: read: connection reset by peer",
    # and by its older builder
    (
        'Get "https://registry-1.docker.io/v2/": net/http: request canceled while waiting for '
        "connection (Client.Timeout exceeded while awaiting headers)"
    ),
    "received unexpected HTTP status: 503 Service Unavailable",
    "error parsing HTTP 429 response body: invalid character 'o' in literal null",
    "toomanyrequests: You have reached your pull rate limit.",
    # later ones
    (
        f"failed to copy: httpReadSeeker: failed open: unexpected status code {BLOB}: "
        "429 Too Many Requests - Server message: toomanyrequests: You have reached your "
        "unauthenticated pull rate limit. https://www.docker.com/increase-rate-limit"
    ),
    (
        f"failed to copy: httpReadSeeker: failed open: unexpected status code {BLOB}: "
        "500 Internal Server Error"
    ),
    f"unexpected status from HEAD request to {BLOB}: 503 Service Unavailable",
]


@pytest.mark.parametrize("error", OUTAGES)
def test_registry_that_is_down_is_the_platforms_fault(error: str) -> None:
    failed = step("[internal] load metadata for docker.io/library/node:lts", error)
    failure = build_failure("failed to solve", failed)

    assert isinstance(failure, DockerError)
    told = "the base image docker.io/library/node:lts could not be pulled, as "
    assert str(failure).startswith(told)


@pytest.mark.parametrize(
    "error",
    [
        "docker.io/library/node:none: not found",
        (
            "pull access denied, repository does not exist or may require authorization: "
            "server message: insufficient_scope: authorization failed"
        ),
        "pulling from host 127.0.0.1:1 failed with status code [manifests 1]: 403 Forbidden",
        "failed to authorize: failed to fetch anonymous token: unexpected status: 401 Unauthorized",
        "no match for platform in manifest sha256:503a50250342905020: not found",
    ],
)
def test_image_that_is_not_there_or_not_for_us_is_the_apps_fault(error: str) -> None:
    failed = step("[internal] load metadata for docker.io/library/node:none", error)

    assert isinstance(build_failure("failed to solve", failed), BuildError)


@pytest.mark.parametrize(
    "name",
    [
        "[internal] load metadata for registry.test/x:1",
        "[build 1/4] FROM registry.test/x:1",
        "FROM registry.test/x:1",
        "from --platform=linux/amd64 registry.test/x:1 AS build",
    ],
)
def test_every_step_that_asks_a_registry_is_known(name: str) -> None:
    failure = build_failure("failed to solve", step(name, OUTAGES[0]))

    assert isinstance(failure, DockerError)
    assert str(failure).startswith("the base image registry.test/x:1 could not be pulled, as its")


@pytest.mark.parametrize(
    "name",
    [
        "resolve image config for docker-image://registry.test/x:1",
        "resolve image config for registry.test/x:1",
        "docker-image://registry.test/x:1",
    ],
)
def test_frontend_is_not_called_a_base_image(name: str) -> None:
    failure = build_failure("failed to solve", step(name, OUTAGES[0]))

    assert isinstance(failure, DockerError)
    assert str(failure).startswith(
        "the Dockerfile frontend registry.test/x:1 could not be pulled, as its registry limits"
    )


@pytest.mark.parametrize(
    ("error", "told"),
    [
        ("docker.io/library/node:none: not found", "there is no image of that name and tag"),
        ("no match for platform in manifest sha256:5: not found", "this machine's processor"),
        ("unexpected status: 401 Unauthorized", "`docker login`"),
        ("toomanyrequests: You have reached your pull rate limit.", "limits the pulls"),
        (OUTAGES[5], "the host name of its registry could not be resolved"),
        ("dial tcp 127.0.0.1:1: connect: connection refused", "the network failed"),
    ],
)
def test_registrys_refusal_is_explained(error: str, told: str) -> None:
    failed = step("[internal] load metadata for docker.io/library/node:none", error)

    assert told in str(build_failure("failed to solve", failed))


def test_cause_comes_first_then_the_instruction_and_its_line() -> None:
    known = Known('npm error Missing script: "build"', "FROM node\n\nRUN npm run build\n", "web/D")
    failed = step("[2/2] RUN npm run build", "executor failed running [x]: exit code: 1")

    assert str(build_failure("failed to solve", failed, known)) == (
        'the build failed: npm error Missing script: "build", at "RUN npm run build" '
        "(line 3 of web/D): exit code 1"
    )


def test_output_that_the_engine_clipped_is_told_of() -> None:
    failed = step("[2/2] RUN make", "exit code: 2")

    assert str(build_failure("x", failed, Known("cc -o a", is_clipped=True))).endswith(CLIPPED)


def test_build_without_dns_says_so() -> None:
    known = Known("W: Temporary failure resolving 'deb.debian.org'")
    failed = step("[2/2] RUN apt-get update", "exit code: 100")

    assert str(build_failure("x", failed, known)).endswith(f"exit code 100; {NO_DNS}")


@pytest.mark.parametrize(
    ("step_name", "error"),
    [
        ("[1/1] COPY package-lock.json ./", '"/package-lock.json" not found: not found'),
        (
            "[1/1] COPY package-lock.json ./",
            'failed to calculate checksum of ref ab::cd: "/package-lock.json": not found',
        ),
        (
            "[1/1] ADD package-lock.json ./",
            (
                "failed to walk /var/lib/docker/tmp/buildkit-mount12/: lstat "
                "/var/lib/docker/tmp/buildkit-mount12/package-lock.json: no such file or directory"
            ),
        ),
        (
            "COPY package-lock.json ./",
            (
                "COPY failed: file not found in build context or excluded by .dockerignore: "
                "stat package-lock.json: file does not exist"
            ),
        ),
        (
            "COPY package-lock.json ./",
            (
                "COPY failed: stat /var/lib/docker/tmp/docker-builder12/package-lock.json: no such "
                "file or directory"
            ),
        ),
    ],
)
def test_missing_file_is_explained_without_the_builders_folder(step_name: str, error: str) -> None:
    known = Known(why_missing=lambda path: f"{path} is not there")
    bare = step_name.removeprefix("[1/1] ")

    assert str(build_failure("x", step(step_name, error), known)) == (
        f'the build failed: package-lock.json is not there, at "{bare}"'
    )


def test_builders_own_folder_is_not_told() -> None:
    error = "lstat /var/lib/docker/tmp/buildkit-mount12/a/b: permission denied"

    assert "/var/lib" not in str(build_failure("x", step("[1/1] COPY a /b", error)))


@pytest.mark.parametrize(
    ("text", "message", "is_hinted"),
    [
        ("FROM a\nRUN <<EOF\necho x\nEOF\n", "line 3: unknown instruction: ECHO", True),
        ("FROM a\nHEALTHCHECK --start-interval=1s", "Unknown flag: start-interval", True),
        ("FROM a\nRUN --mount=type=nope x", 'unsupported mount type "nope"', True),
        ("FROM a\nFETCH x\n", "line 2: unknown instruction: FETCH", False),
        ("# syntax=docker/dockerfile:1\nFROM a\nCOPY --x a b", "Unknown flag: x", False),
    ],
)
def test_old_frontend_is_hinted_at(text: str, message: str, is_hinted: bool) -> None:  # noqa: FBT001
    told = str(build_failure(f"dockerfile parse error {message}", None, Known(dockerfile=text)))

    assert told.endswith(f"; {OLD_FRONTEND}") is is_hinted


@pytest.mark.parametrize(
    "name", ["[2/2] RUN pip install x", "[2/2] RUN echo load metadata for it", "[2/2] COPY a /a"]
)
def test_command_that_finds_a_server_down_is_the_apps_own(name: str) -> None:
    failed = step(name, "dial tcp: lookup pypi.org: no such host")

    assert isinstance(build_failure("failed to solve", failed), BuildError)


def test_mistake_in_the_dockerfile_is_unwrapped() -> None:
    message = (
        "failed to solve with frontend dockerfile.v0: failed to create LLB definition: "
        "dockerfile parse error line 2: unknown instruction: FETCH"
    )

    assert str(build_failure(message, None)) == (
        "the build failed: dockerfile parse error line 2: unknown instruction: FETCH"
    )


@pytest.mark.parametrize("failed", [None, step("[1/1] COPY a /a", "short write")])
def test_full_disk_is_the_platforms_fault(failed: Vertex | None) -> None:
    failure = build_failure("write /var/lib/docker/x: no space left on device", failed)

    assert isinstance(failure, DockerError)
    assert "disk is full" in str(failure)


def test_sentence_is_one_line_of_bounded_length() -> None:
    failure = str(build_failure("x", step("[1/1] RUN " + "a\n" * 90_000, "b\n" * 90_000)))

    assert "\n" not in failure
    assert len(failure) < 3 * LONGEST_QUOTED


@given(st.integers(0, 6000), st.sampled_from(["{}", "{} and more", "x\n{}\ny"]))
def test_build_argument_is_whole_wherever_a_failure_quotes_it(place: int, quoted: str) -> None:
    secret = "two  blanks and hunter2-hunter2"
    told = "x" * place + quoted.format(secret)

    failures = [
        build_failure("x", step(f"[1/2] RUN {told}", "exit code: 1")),
        build_failure("x", step("[1/2] RUN make", told)),
        build_failure(told, None),
    ]

    assert all(secret in str(failure) for failure in failures)


def test_wrapping_without_an_end_is_unwrapped_at_once() -> None:
    started = time.process_time()

    assert str(build_failure("failed to solve: " * 200_000 + "x", None)) == "the build failed: x"
    assert time.process_time() - started < 2


def test_silent_engine_still_gives_a_sentence() -> None:
    assert str(build_failure("", None)) == "the build failed: the engine gave no reason"


@pytest.mark.parametrize(
    ("message", "told"),
    [
        ({"errorDetail": {"code": 1, "message": "no"}, "error": "no"}, "no"),
        ({"errorDetail": {"message": "no"}}, "no"),
        ({"error": "no"}, "no"),
        ({"errorDetail": {}, "error": ""}, ""),
        ({"stream": "error: no"}, None),
        ({}, None),
    ],
)
def test_an_error_is_known_by_its_details_and_by_its_older_name(
    message: dict[str, object], told: str | None
) -> None:
    assert told_error(message) == told


@pytest.mark.parametrize("piece", ["/a", "instruction ", "flag ", "/buildkit-mount"])
def test_an_error_that_quotes_a_hostile_dockerfile_costs_little(piece: str) -> None:
    error = "dockerfile parse error: unknown word: " + piece * (200_000 // len(piece))
    started = time.process_time()
    assert isinstance(build_failure(error, None), BuildError)
    assert time.process_time() - started < 10
