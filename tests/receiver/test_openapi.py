"""The description of the API is the table of routes, whole and true."""

import json
import re
from typing import Any

import jsonschema_rs
import pytest
from schemathesis.specs.openapi.definitions import OPENAPI_31
from starlette.applications import Starlette
from starlette.routing import Route
from starlette.testclient import TestClient

from jobs.states import Role
from receiver.access import Door
from receiver.app import create_app
from receiver.endpoints import ENDPOINTS
from receiver.openapi import describe
from receiver.routing import Endpoint, Nothing
from receiver.settings_pages import SETTINGS_PAGES
from tests.builders import WebRuntime

DOCUMENT = describe(ENDPOINTS, version="1.2.3")
OPERATIONS = {
    (method.upper(), path): operation
    for path, operations in DOCUMENT["paths"].items()
    for method, operation in operations.items()
}


def references(node: Any) -> set[str]:  # noqa: ANN401
    """Give every `$ref` below a node."""
    return set(re.findall(r'"\$ref": "([^"]+)"', json.dumps(node)))


def test_it_describes_every_endpoint_once() -> None:
    assert sorted(OPERATIONS) == sorted((each.method, each.path) for each in ENDPOINTS)
    names = [operation["operationId"] for operation in OPERATIONS.values()]
    assert len(set(names)) == len(names)


def test_every_route_of_the_application_is_in_the_table(runtime: WebRuntime) -> None:
    app: Starlette = create_app(runtime)
    paths = {route.path for route in app.routes if isinstance(route, Route)}
    forms = {endpoint.path for endpoint in SETTINGS_PAGES}
    assert paths - {"/api/{rest:path}"} - forms == {endpoint.path for endpoint in ENDPOINTS}


def test_it_is_openapi_3_1_by_the_standards_own_schema() -> None:
    jsonschema_rs.Draft202012Validator(OPENAPI_31).validate(DOCUMENT)


@pytest.mark.parametrize("name", DOCUMENT["components"]["schemas"])
def test_every_shape_is_a_json_schema(name: str) -> None:
    schema = {
        "$ref": f"#/components/schemas/{name}",
        "components": DOCUMENT["components"],
    }
    assert jsonschema_rs.meta.is_valid(schema)
    jsonschema_rs.Draft202012Validator(schema)


def test_every_operation_says_what_it_does() -> None:
    for operation in OPERATIONS.values():
        assert operation["summary"].endswith(".")
        assert "Needs: " in operation["description"]


@pytest.mark.parametrize("endpoint", ENDPOINTS, ids=lambda each: f"{each.method} {each.path}")
def test_an_operation_says_who_may_and_how_it_may_fail(endpoint: Endpoint) -> None:
    operation = OPERATIONS[endpoint.method, endpoint.path]
    failures = {int(status) for status in operation["responses"] if int(status) >= 400}
    is_guarded = isinstance(endpoint.needs, Role)
    assert bool(operation["security"]) == (endpoint.needs is not Door.ANYONE)
    assert not is_guarded or {401, 403, 503} <= failures
    assert endpoint.method == "GET" or {408, 413, 415} <= failures
    assert "{" not in endpoint.path or 404 in failures
    for status in failures - set(endpoint.also):
        schema = operation["responses"][str(status)]["content"]["application/json"]["schema"]
        assert schema == {"$ref": "#/components/schemas/Error"}


def test_every_reference_leads_somewhere() -> None:
    schemas = DOCUMENT["components"]["schemas"]
    assert references(DOCUMENT) == {f"#/components/schemas/{name}" for name in schemas}


@pytest.mark.parametrize("endpoint", ENDPOINTS, ids=lambda each: f"{each.method} {each.path}")
def test_an_operation_has_its_parameters_and_its_body(endpoint: Any) -> None:  # noqa: ANN401
    operation = OPERATIONS[endpoint.method, endpoint.path]
    in_path = {each["name"] for each in operation["parameters"] if each["in"] == "path"}
    assert in_path == set(re.findall(r"\{(\w+)\}", endpoint.path))
    takes_body = endpoint.method != "GET" and endpoint.takes is not Nothing
    assert ("requestBody" in operation) == takes_body
    in_query = {each["name"] for each in operation["parameters"] if each["in"] == "query"}
    assert in_query == (set() if takes_body else set(endpoint.takes.model_fields))
    assert str(endpoint.status) in operation["responses"]


def test_secrets_are_marked_as_such() -> None:
    schemas = DOCUMENT["components"]["schemas"]
    assert schemas["LoginInput"]["properties"]["password"]["format"] == "password"
    assert schemas["RepositoryTokenInput"]["properties"]["token"]["writeOnly"] is True


def test_it_is_served(client: TestClient) -> None:
    answer = client.get("/api/openapi.json")
    assert (answer.status_code, answer.json()["openapi"]) == (200, "3.1.0")
    assert answer.json()["paths"].keys() == DOCUMENT["paths"].keys()
