"""Describes the table of endpoints as an OpenAPI 3.1 document. Pure.

Source: https://spec.openapis.org/oas/v3.1.0 (read 2026-11-23).
"""

import inspect
import re
from collections.abc import Iterable, Mapping, Sequence
from http import HTTPStatus
from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import JsonSchemaMode, models_json_schema

from jobs.rules.naming import SESSION_COOKIE, VARIABLE_NAME
from jobs.states import Role
from receiver.access import SAFE_METHODS, Door
from receiver.errors import FORM
from receiver.routing import EVENTS, JSON, Endpoint, Nothing
from receiver.schemas import LARGEST_ID

Document = dict[str, Any]
ModelKey = tuple[type[BaseModel], JsonSchemaMode]

REF = "#/components/schemas/{model}"
EMPTY = frozenset({204, 303})  # answers without a body
# The schema type of a media type, where it is not "string"; for a stream, of each event.
MEDIA_SHAPES = {JSON: "object", EVENTS: "object"}
FIELD_MISTAKE: Document = {
    "type": "object",
    "required": ["field", "index", "message"],
    "properties": {
        "field": {"type": "string", "description": "Its name in the body, the query or the path"},
        "index": {
            "type": ["integer", "string", "null"],
            "description": "Which of its entries is wrong: a list's index from 0, an object's key",
        },
        "message": {"type": "string", "description": "For people, without the field's name"},
    },
}
ERROR: Document = {
    "type": "object",
    "required": ["error"],
    "properties": {
        "error": {
            "type": "object",
            "required": ["code", "message"],
            "properties": {
                "code": {"type": "string", "description": "For programs: snake_case"},
                "message": {"type": "string", "description": "For people: what to correct"},
                "fields": {
                    "type": "array",
                    "description": "The fields that are wrong, if single fields are; the message "
                    "names them, too",
                    "items": FIELD_MISTAKE,
                },
            },
        }
    },
}
SECURITY: Document = {
    "token": {"type": "http", "scheme": "bearer", "description": "`keystone token create`"},
    "session": {
        "type": "apiKey",
        "in": "cookie",
        "name": f"{SESSION_COOKIE}_IDENTITY",
        "description": "IDENTITY stands for the six letters that this Keystone's containers have "
        "in their names. Behind https the name begins with `__Host-`. Changes need the header "
        "`X-CSRF-Token`, or a form's field `csrf_token`, as well",
    },
    "signature": {
        "type": "apiKey",
        "in": "header",
        "name": "X-Hub-Signature-256",
        "description": "HMAC-SHA256 of the raw body, by the repository's webhook secret",
    },
}
PARAMETERS: Mapping[str, Document] = {
    "id": {"type": "integer", "minimum": 1, "maximum": LARGEST_ID},
    "app": {"type": "string", "pattern": "^[a-z0-9][a-z0-9-]{0,62}$"},
    "name": {"type": "string", "pattern": "^[a-z0-9][a-z0-9-]{0,62}$"},
    "domain": {"type": "string", "maxLength": 253},
    "variable": {"type": "string", "pattern": f"^{VARIABLE_NAME.pattern}$"},
}


def describe(endpoints: Sequence[Endpoint], *, version: str) -> Document:
    """Give the document."""
    refs, schemas = _schemas(endpoints)
    paths: dict[str, Document] = {}
    for endpoint in endpoints:
        operation = _operation(endpoint, refs)
        paths.setdefault(endpoint.path, {})[endpoint.method.lower()] = operation
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Keystone",
            "version": version,
            "description": "A `git push` becomes a running container.",
        },
        "paths": paths,
        "components": {"schemas": {**schemas, "Error": ERROR}, "securitySchemes": SECURITY},
    }


def _schemas(endpoints: Sequence[Endpoint]) -> tuple[dict[ModelKey, Document], Document]:
    models: list[ModelKey] = []
    for endpoint in endpoints:
        if _takes_body(endpoint):
            models.append((endpoint.takes, "validation"))
        if isinstance(endpoint.gives, type):
            models.append((endpoint.gives, "serialization"))
    found, definitions = models_json_schema(list(dict.fromkeys(models)), ref_template=REF)
    refs = {key: found[key] for key in models}
    return refs, {**definitions.get("$defs", {}), **_words_of_queries(endpoints)}


def _words_of_queries(endpoints: Iterable[Endpoint]) -> Document:
    """Give the schemas that query parameters refer to; a query itself is not a listed schema."""
    found: Document = {}
    for endpoint in endpoints:
        if not _takes_body(endpoint):
            found |= endpoint.takes.model_json_schema(ref_template=REF).get("$defs", {})
    return found


def _takes_body(endpoint: Endpoint) -> bool:
    return endpoint.takes is not Nothing and endpoint.method not in SAFE_METHODS


def _operation(endpoint: Endpoint, refs: Mapping[ModelKey, Document]) -> Document:
    summary, _, description = (inspect.getdoc(endpoint.handler) or "").partition("\n")
    operation: Document = {
        "operationId": endpoint.handler.__name__,
        "summary": summary,
        "description": f"{description.strip()}\n\nNeeds: {endpoint.needs}.".strip(),
        "security": _security(endpoint),
        "parameters": [*_path_parameters(endpoint.path), *_query_parameters(endpoint)],
        "responses": _responses(endpoint, refs),
    }
    if _takes_body(endpoint):
        operation["requestBody"] = _request_body(endpoint, refs)
    return operation


def _security(endpoint: Endpoint) -> list[Document]:
    match endpoint.needs:
        case Door.ANYONE:
            return []
        case Door.SIGNATURE:
            return [{"signature": []}]
        case Door.TOKEN_OR_LOOPBACK:
            return [{"token": []}, {"session": []}, {}]
        case Role():
            return [{"token": []}, {"session": []}]


def _path_parameters(path: str) -> list[Document]:
    return [
        {"name": name, "in": "path", "required": True, "schema": PARAMETERS[name]}
        for name in re.findall(r"\{(\w+)\}", path)
    ]


def _query_parameters(endpoint: Endpoint) -> list[Document]:
    if endpoint.method not in SAFE_METHODS:
        return []
    schema = endpoint.takes.model_json_schema(ref_template=REF)
    return [
        {"name": name, "in": "query", "required": False, "schema": properties}
        for name, properties in schema.get("properties", {}).items()
    ]


def _request_body(endpoint: Endpoint, refs: Mapping[ModelKey, Document]) -> Document:
    schema = refs[endpoint.takes, "validation"]
    is_needed = any(field.is_required() for field in endpoint.takes.model_fields.values())
    return {
        "required": is_needed,
        "content": {JSON: {"schema": schema}, FORM: {"schema": schema}},
    }


def _responses(endpoint: Endpoint, refs: Mapping[ModelKey, Document]) -> Document:
    responses: Document = {}
    for status in (endpoint.status, *endpoint.also):
        responses[str(status)] = {"description": HTTPStatus(status).phrase}
        if status not in EMPTY and endpoint.gives is not None:
            responses[str(status)]["content"] = _content(endpoint.gives, refs)
    for status in _error_statuses(endpoint):
        content = {JSON: {"schema": {"$ref": REF.format(model="Error")}}}
        responses[str(status)] = {"description": HTTPStatus(status).phrase, "content": content}
    return responses


def _content(gives: type[BaseModel] | str, refs: Mapping[ModelKey, Document]) -> Document:
    if isinstance(gives, str):
        return {gives: {"schema": {"type": MEDIA_SHAPES.get(gives, "string")}}}
    return {JSON: {"schema": refs[gives, "serialization"]}}


def _error_statuses(endpoint: Endpoint) -> list[int]:
    """Give every HTTP status that an error of this endpoint can have."""
    # `receiver.limits` checks these before a request is handled.
    found = {413, 415, 431, *endpoint.errors}
    if isinstance(endpoint.needs, Role):
        found |= {401, 403, 503}
    if endpoint.needs is Door.TOKEN_OR_LOOPBACK:
        found |= {401, 503}
    if endpoint.takes is not Nothing:
        found.add(400)
    if endpoint.method not in SAFE_METHODS:
        found |= {400, 408}
    if "{" in endpoint.path:
        found.add(404)
    return sorted(found)
