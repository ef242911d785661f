"""What of the engine's refusals Keystone expects, and the errors they become."""

from collections.abc import Iterator
from contextlib import contextmanager

import requests
from docker.errors import APIError, DockerException

from jobs.adapters.docker import values
from jobs.errors import DockerError, StartError

BAD_REQUEST, FORBIDDEN, NOT_FOUND, CONFLICT = 400, 403, 404, 409


class Tolerated:
    """Leaves its block in silence when the engine answers with one of these codes."""

    def __init__(self, *codes: int) -> None:
        self._codes = codes

    def __enter__(self) -> None:
        pass

    def __exit__(self, _kind: object, error: BaseException | None, _trace: object) -> bool:
        return isinstance(error, APIError) and error.status_code in self._codes


@contextmanager
def start_errors() -> Iterator[None]:
    """Tell a container that cannot be started because of what is in its image."""
    try:
        yield
    except APIError as exc:
        if exc.status_code == BAD_REQUEST or values.is_apps_fault(exc.explanation or ""):
            raise StartError(values.start_reason(exc.explanation or str(exc))) from exc
        raise


@contextmanager
def translated() -> Iterator[None]:
    """Raise what the SDK raises as one of Keystone's own errors."""
    try:
        yield
    except APIError as exc:
        raise DockerError(values.refusal(exc.explanation or str(exc))) from exc
    except (DockerException, requests.RequestException) as exc:
        raise DockerError("the Docker Engine does not answer; is it running?") from exc
