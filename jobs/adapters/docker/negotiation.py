"""Keeps the docker SDK's API version current: it negotiates once, and the engine may be replaced.

Each answer of an engine names the newest version that it speaks, so each answer negotiates again,
without a request of its own. An engine that no longer takes our version does nothing but say so:
then the same request is sent once more, with a version that it takes.

A version that Keystone was not tested with may answer in another form, so the newest tested one is
used, unless the engine no longer takes it: then the oldest that the engine takes.

Source: https://docs.docker.com/reference/api/engine/version-history/ and observation of Docker
Engine 20.10 and 29.1 (read 2026-12-01).
"""

import re
from http import HTTPStatus
from typing import Any

import requests
from docker.api import APIClient
from docker.constants import MINIMUM_DOCKER_API_VERSION

from jobs.adapters.buildkit.transport import refuses_version

NEWEST_TESTED = (1, 52)  # by the tests in tests/roots, on Docker Engine 29.1
HEADER = "Api-Version"
PODMAN = "Libpod-Api-Version"  # a header that only Podman sends
_VERSION = re.compile(r"[0-9]{1,4}\.[0-9]{1,4}")
_IN_PATH = re.compile(r"(?<=/)v[0-9]+\.[0-9]+(?=/)")

Version = tuple[int, ...]


def keep_negotiating(api: APIClient) -> None:
    """Have each answer to this client bring its API version up to date."""
    negotiation = _Negotiation(api)
    negotiation.use(api.api_version)
    # `requests` calls this with each answer, and takes what it returns in the answer's place.
    api.hooks["response"] = [negotiation.look]


def is_podman(api: APIClient) -> bool:
    """Ask the engine for its newest version, which each answer brings, and whether it is Podman."""
    answer = api.get(f"{api.base_url}/v{api.api_version}/_ping", timeout=api.timeout)
    return PODMAN in answer.headers


class _Negotiation:
    """The choice of a version for one client.

    Attributes:
        newest: the engine's newest version, as it was last told.
        oldest: the engine's oldest version; known once it has refused an older one.
    """

    def __init__(self, api: APIClient) -> None:
        self._api = api
        self.newest = ""
        self.oldest = ""

    def look(self, answer: requests.Response, **options: Any) -> requests.Response:  # noqa: ANN401
        is_named = self.use(answer.headers.get(HEADER, ""))
        if not _is_refused(answer):
            return answer
        if not is_named or _number(self.newest) > NEWEST_TESTED:
            # The header names the newest version only.
            told = self._api.version(api_version=False)
            oldest = str(told.get("MinAPIVersion", ""))
            self.use(str(told.get("ApiVersion", "")), oldest=oldest)
        again = answer.request.copy()
        again.url = _IN_PATH.sub(f"v{self._api.api_version}", str(again.url), count=1)
        if again.url == answer.request.url:
            return answer
        again.hooks = {}
        answer.close()
        return self._api.send(again, **options)

    def use(self, newest: str, *, oldest: str = "") -> bool:
        """Choose a version from now on; false when the SDK does not support the engine's."""
        if not _is_supported(newest):
            return False
        # An engine that has been replaced may take what the one before refused.
        self.oldest = oldest or (self.oldest if newest == self.newest else "")
        self.newest = newest
        chosen = _written(min(_number(newest), max(NEWEST_TESTED, _number(self.oldest))))
        # The SDK has no public way to change it.
        vars(self._api)["_version"] = chosen
        return True


def _is_supported(version: str) -> bool:
    if not _VERSION.fullmatch(version):
        return False
    return _number(version) >= _number(MINIMUM_DOCKER_API_VERSION)


def _number(version: str) -> Version:
    return tuple(map(int, version.split("."))) if version else ()


def _written(version: Version) -> str:
    return ".".join(map(str, version))


def _is_refused(answer: requests.Response) -> bool:
    # The body of any other answer is left alone: it may be a stream that goes on for long.
    return answer.status_code == HTTPStatus.BAD_REQUEST and refuses_version(answer.text)
