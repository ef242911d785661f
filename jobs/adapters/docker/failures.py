"""Expected errors of the Docker Engine, and their translation into Keystone's errors."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import requests
from docker.errors import APIError, DockerException, create_api_error_from_http_exception

from jobs.adapters.docker import values
from jobs.errors import DockerError, StartError

BAD_REQUEST, FORBIDDEN, NOT_FOUND, CONFLICT = 400, 403, 404, 409


class Tolerated:
    """Suppresses the engine's errors with one of these status codes and leaves the block."""

    def __init__(self, *codes: int) -> None:
        self._codes = codes

    def __enter__(self) -> None:
        pass

    def __exit__(self, _kind: object, error: BaseException | None, _trace: object) -> bool:
        return isinstance(error, APIError) and error.status_code in self._codes


@contextmanager
def start_errors() -> Iterator[None]:
    """Raise StartError when a container cannot be started because of its image's content."""
    try:
        yield
    except APIError as exc:
        if exc.status_code == BAD_REQUEST or values.is_apps_fault(exc.explanation or ""):
            raise StartError(values.start_reason(exc.explanation or str(exc))) from exc
        raise


@contextmanager
def translated() -> Iterator[None]:
    """Turn the SDK's exceptions into Keystone's own errors."""
    try:
        yield
    except APIError as exc:
        raise DockerError(values.refusal(exc.explanation or str(exc))) from exc
    except (DockerException, requests.RequestException) as exc:
        raise DockerError("the Docker Engine does not answer; is it running?") from exc


def ensure_accepted(answer: requests.Response) -> None:
    """Check the answer to a request that the SDK has no method for.

    Raises:
        APIError: the engine refused the request.
    """
    try:
        answer.raise_for_status()
    except requests.HTTPError as exc:
        create_api_error_from_http_exception(exc)


def json_of(answer: requests.Response) -> Mapping[str, Any]:
    """Give the JSON object of an answer to a request that the SDK has no method for.

    Raises:
        APIError: the engine refused the request.
        RequestException: the answer is not JSON.
    """
    ensure_accepted(answer)
    found: Mapping[str, Any] = answer.json()
    return found
