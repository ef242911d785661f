"""Keeps the docker SDK's API version current: it negotiates once, and the engine may be replaced.

Each answer of an engine names the newest version that it speaks, so each answer negotiates again,
without a request of its own. An engine that no longer takes our version does nothing but say so:
then the same request is sent once more, with a version that it takes.

Source: https://docs.docker.com/reference/api/engine/version-history/ and observation of Docker
Engine 20.10 (read 2026-11-30).
"""

import re
from http import HTTPStatus
from typing import Any

import requests
from docker.api import APIClient
from docker.constants import MINIMUM_DOCKER_API_VERSION

from jobs.adapters.buildkit.transport import refuses_version

HEADER = "Api-Version"
_VERSION = re.compile(r"[0-9]{1,4}\.[0-9]{1,4}")
_IN_PATH = re.compile(r"(?<=/)v[0-9]+\.[0-9]+(?=/)")


def keep_negotiating(api: APIClient) -> None:
    """Have each answer to this client bring its API version up to date."""

    def look(answer: requests.Response, **options: Any) -> requests.Response:  # noqa: ANN401
        is_named = _use(api, answer.headers.get(HEADER, ""))
        if not _is_refused(answer):
            return answer
        if not is_named:
            _use(api, str(api.version(api_version=False)["ApiVersion"]))
        again = answer.request.copy()
        again.url = _IN_PATH.sub(f"v{api.api_version}", str(again.url), count=1)
        if again.url == answer.request.url:
            return answer
        again.hooks = {}
        answer.close()
        return api.send(again, **options)

    # `requests` calls this with each answer, and takes what it returns in the answer's place.
    api.hooks["response"] = [look]


def _use(api: APIClient, version: str) -> bool:
    """Use a version from now on, if the SDK supports it."""
    if not _VERSION.fullmatch(version) or _number(version) < _number(MINIMUM_DOCKER_API_VERSION):
        return False
    # The SDK has no public way to change it.
    vars(api)["_version"] = version
    return True


def _number(version: str) -> tuple[int, ...]:
    return tuple(map(int, version.split(".")))


def _is_refused(answer: requests.Response) -> bool:
    # The body of any other answer is left alone: it may be a stream that goes on for long.
    return answer.status_code == HTTPStatus.BAD_REQUEST and refuses_version(answer.text)
