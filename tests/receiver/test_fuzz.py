"""Every operation, asked with what our own description allows and with what it forbids.

Whatever comes in, the answer is one that is described: no crash, no status, no shape of its own.
"""

from collections.abc import Callable, Iterator
from copy import deepcopy
from dataclasses import replace
from datetime import timedelta
from typing import Any
from urllib.parse import unquote, urlsplit

import pytest
import requests
import schemathesis
from httpx2 import Request, Response
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis.strategies import SearchStrategy
from redis import Redis
from schemathesis import APIOperation, GenerationMode
from schemathesis import Case as AnyCase
from schemathesis.core.result import Ok
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)
from starlette.testclient import TestClient

from jobs.errors import ConflictError
from jobs.processes.bus import Bus
from jobs.states import Role
from receiver.app import create_app
from receiver.endpoints import ENDPOINTS
from receiver.openapi import Document, describe
from tests.builders import WebRuntime, make_app, make_live, make_token, write_log
from tests.receiver.asking import Asked, ask

Case = AnyCase[Any]
Operation = APIOperation[Any, Any, Any, Any]

EXAMPLES = 4  # of each operation, twice
# The same each time, so that a change is not blamed for what an unlucky draw has found.
FUZZING = settings(
    max_examples=EXAMPLES,
    deadline=None,
    derandomize=True,
    phases=[Phase.generate],
    suppress_health_check=list(HealthCheck),
)
CHECKS = [
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
]
# What the path of an operation names, so that not everything ends with a 404.
THERE: dict[str, object] = {
    "app": "web",
    "id": 1,
    "variable": "GREETING",
    "domain": "web.example.com",
    "name": "fuzzed",
}


def _without_security(document: Document) -> Document:
    """Leave out who may ask: the matrix is about that, and here an admin always asks."""
    document = deepcopy(document)
    for operations in document["paths"].values():
        for operation in operations.values():
            operation["security"] = []
    return document


SCHEMA = schemathesis.openapi.from_dict(_without_security(describe(ENDPOINTS, version="1")))
OPERATIONS: dict[str, Operation] = {
    found.ok().label: found.ok() for found in SCHEMA.get_all_operations() if isinstance(found, Ok)
}


class PromptBus(Bus):
    """A watcher that knows one container and refuses every errand, at once."""

    def ask(self, kind: str, **about: Any) -> dict[str, Any]:  # noqa: ANN401, ARG002
        """Answer."""
        if kind == "container":
            return {
                "id": "c" * 64,
                "state": "running",
                "reason": "",
                "since": "2026-11-23T17:00:00Z",
                "exit_code": None,
                "out_of_memory": False,
                "restarts": 0,
                "health": None,
            }
        if kind == "output":
            return {"lines": [["2026-11-23T17:00:00Z", "listening"]]}
        raise ConflictError("not now")


@pytest.fixture
def fuzzed(runtime: WebRuntime) -> Iterator[Callable[[Case], Response]]:
    """Give something that asks a Keystone with an app, as its admin."""
    make_app(runtime)
    make_live(runtime)
    write_log(runtime, 1, ["built"])
    token = make_token(runtime, name="fuzzer", role=Role.ADMIN)
    with Redis.from_url(runtime.settings.redis_url) as redis:
        app = create_app(replace(runtime, bus=PromptBus(redis, runtime.identity)))
        with TestClient(app) as client:
            yield lambda case: _send(client, case, token)


def _send(client: TestClient, case: Case, token: str) -> Response:
    wanted = case.as_transport_kwargs(base_url="http://testserver")
    ready = requests.Request(**wanted).prepare()
    url = urlsplit(str(ready.url))
    body = ready.body or b""
    asked = Asked(
        str(ready.method),
        unquote(url.path),
        {**ready.headers, "Authorization": f"Bearer {token}"},
        url.query,
        body.encode() if isinstance(body, str) else body,
    )
    answered = ask(client, asked)
    assert b"Traceback" not in answered.body
    request = Request(asked.method, str(ready.url), headers=dict(asked.headers))
    response = Response(
        answered.status, headers=answered.headers, content=answered.body, request=request
    )
    response.elapsed = timedelta(0)
    return response


@pytest.mark.parametrize("operation", OPERATIONS.values(), ids=list(OPERATIONS))
def test_every_answer_is_one_that_is_described(
    fuzzed: Callable[[Case], Response], operation: Operation
) -> None:
    @settings(FUZZING)
    @given(_allowed(operation))
    def ask_what_is_allowed(case: Case) -> None:
        case.validate_response(fuzzed(case), checks=CHECKS)

    @settings(FUZZING)
    @given(operation.as_strategy(generation_mode=GenerationMode.NEGATIVE))
    def ask_what_is_forbidden(case: Case) -> None:
        case.validate_response(fuzzed(case), checks=CHECKS)

    ask_what_is_allowed()
    if _takes_anything(operation):
        ask_what_is_forbidden()


def _allowed(operation: Operation) -> SearchStrategy[Case]:
    names = [parameter.name for parameter in operation.path_parameters]
    there = {name: THERE[name] for name in names}
    return operation.as_strategy(path_parameters=there)


def _takes_anything(operation: Operation) -> bool:
    return bool([*operation.path_parameters, *operation.query, *operation.body])
