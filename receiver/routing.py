"""Declares endpoints and handles their requests: authorization, input, handler, answer.

Each module declares its endpoints at their handlers, and `receiver.endpoints` joins them into one
list. An `Endpoint` cannot be declared without saying who may use it, and only `Resource` calls
handlers, so every route is authorized. `receiver.openapi` describes that list.
"""

import inspect
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Generic, TypeVar, cast, get_args, get_type_hints

from pydantic import BaseModel, ConfigDict
from sqlmodel import Session
from starlette.background import BackgroundTask
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from dashboard.forms import texts_of
from dashboard.pages.login import page_behind
from jobs.errors import NotFoundError
from jobs.processes.runtime import Runtime
from jobs.reads.views import DeploymentView
from jobs.rules.actors import Actor, stranger
from jobs.rules.field_types import NAME
from jobs.rules.mistakes import parse_input
from jobs.rules.visitor import Visitor
from jobs.settings import WebSettings
from jobs.states import Role
from receiver.access import (
    CSRF_FIELD,
    HOW_TO_COME_IN,
    SAFE_METHODS,
    Needs,
    address_of,
    ensure_allowed,
    ensure_meant,
)
from receiver.errors import (
    FORM,
    MediaTypeError,
    PayloadError,
    UnauthenticatedError,
    is_form_of_a_browser,
)
from receiver.schemas import LARGEST_ID
from receiver.strict_json import ensure_storable, strict_json
from receiver.wake_up import Waker

JSON, HTML, CSS = "application/json", "text/html", "text/css"
TEXT, EVENTS = "text/plain", "text/event-stream"
FIRST_REDIRECT = 300
MOST_FIELDS = 100
# Bytes. A larger body is parsed in a thread: a megabyte takes a tenth of a second, and would block
# the event loop for that time.
READ_AT_ONCE = 16 * 1024

Given_co = TypeVar("Given_co", covariant=True)
Parsed = TypeVar("Parsed")


class Nothing(BaseModel):
    """No input."""

    model_config = ConfigDict(extra="forbid")


@dataclass(frozen=True)
class Call(Generic[Given_co]):
    """One request, with its visitor and its parsed input."""

    request: Request
    visitor: Visitor | None
    given: Given_co

    @property
    def runtime(self) -> Runtime[WebSettings]:
        """The runtime of this process."""
        return cast(Runtime[WebSettings], self.request.app.state.runtime)

    @property
    def settings(self) -> WebSettings:
        """The settings of this process."""
        return self.runtime.settings

    @property
    def actor(self) -> Actor:
        """The actor that the audit trail records for a change."""
        address = address_of(self.request)
        if self.visitor is None:
            return stranger(address)
        return Actor(self.visitor.kind, self.visitor.name, address)

    def reading(self) -> AbstractContextManager[Session]:
        """Open a reading transaction."""
        return self.runtime.database.reading()

    def writing(self) -> AbstractContextManager[Session]:
        """Open a writing transaction."""
        return self.runtime.database.writing()

    def id(self) -> int:
        """Give the `{id}` of the address.

        Raises:
            NotFoundError: no row can have that id.
        """
        text = self.request.path_params["id"]
        if not text.isascii() or not text.isdecimal() or len(text) > len(str(LARGEST_ID)):
            raise NotFoundError(f"{text[:40]!r} is not an id")
        if int(text) > LARGEST_ID:
            raise NotFoundError(f"{text} is not an id")
        return int(text)

    def name(self) -> str:
        """Give the `{app}` or `{name}` of the address.

        Raises:
            NotFoundError: nothing can have that name.
        """
        parameters = self.request.path_params
        text: str = parameters.get("app") or parameters["name"]
        if not NAME.fullmatch(text):
            raise NotFoundError(f"nothing is named {text[:40]!r}")
        return text

    def waking(self, asked: DeploymentView) -> BackgroundTask:
        """Give the task that wakes up a worker after the answer was sent."""
        waker: Waker = self.request.app.state.waker
        return BackgroundTask(waker.wake, [asked.id], asked.trigger.lane)


def visitor_of(call: Call[Any]) -> Visitor:
    """Give the visitor of an endpoint that needs one.

    Raises:
        UnauthenticatedError: the visitor is unknown.
    """
    if call.visitor is None:
        raise UnauthenticatedError(HOW_TO_COME_IN)
    return call.visitor


Handler = Callable[[Call[Any]], Any]
Declared = TypeVar("Declared", bound=Handler)


@dataclass(frozen=True)
class Endpoint:
    """One method of one address.

    `takes` is the model of the JSON body or form of a change, and of the query of a GET.
    `gives` is what a successful answer contains: a model, a media type, or None for no content. If
    a handler returns a `Response`, that is sent unchanged.
    """

    method: str
    path: str
    handler: Handler
    needs: Needs
    takes: type[BaseModel] = Nothing
    gives: type[BaseModel] | str | None = None
    status: int = 200
    also: tuple[int, ...] = ()  # other possible statuses whose answer is not an `Error`
    reads_body: bool = False  # the handler reads the raw body itself
    errors: tuple[int, ...] = ()  # possible error statuses besides 401, 403 and 503


class Endpoints(list[Endpoint]):
    """The endpoints of one module, each declared at its handler: `@ENDPOINTS.add("GET", …)`."""

    def add(  # noqa: PLR0913 — the fields of an endpoint
        self,
        method: str,
        path: str,
        *,
        needs: Needs,
        takes: type[BaseModel] | None = None,
        gives: type[BaseModel] | str | None = None,
        status: int | None = None,
        also: tuple[int, ...] = (),
        reads_body: bool = False,
        errors: tuple[int, ...] = (),
    ) -> Callable[[Declared], Declared]:
        """Declare the endpoint that a function handles; its annotations give input and output.

        Args:
            takes: a model that accepts more than the one in the function's annotation.
            gives: the content of the `Response`, if the function returns one.
            status: by default 200, or 204 for an answer without content.
        """

        def declare(handler: Declared) -> Declared:
            call, returned = get_type_hints(handler).values()
            (given,) = get_args(call)
            answer = returned if issubclass(returned, BaseModel) else gives
            self.append(
                Endpoint(
                    method,
                    path,
                    handler,
                    needs=needs,
                    takes=takes or (given if issubclass(given, BaseModel) else Nothing),
                    gives=answer,
                    status=status or (204 if answer is None else 200),
                    also=also,
                    reads_body=reads_body,
                    errors=errors,
                )
            )
            return handler

        return declare


class Resource:
    """The endpoints of one address, as an ASGI application; answers 404 if there are none."""

    def __init__(self, endpoints: Sequence[Endpoint]) -> None:
        self.endpoints = {endpoint.method: endpoint for endpoint in endpoints}

    def methods(self) -> list[str]:
        """Give the supported methods; where GET is supported, HEAD is, too."""
        return sorted({*self.endpoints, *(["HEAD"] if "GET" in self.endpoints else [])})

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer the request with the endpoint of its method.

        Raises:
            KeystoneError: the request failed; `receiver.errors` makes the answer.
        """
        request = Request(scope, receive)
        method = "GET" if request.method == "HEAD" else request.method
        endpoint = self.endpoints.get(method)
        if not self.endpoints:
            raise HTTPException(404)
        if endpoint is None:
            raise HTTPException(405, headers={"allow": ", ".join(self.methods())})
        response = await _perform(endpoint, request)
        await response(scope, receive, send)


def routes(endpoints: Sequence[Endpoint], *, shared: Sequence[str] = ()) -> list[Route]:
    """Make the routes of a table of endpoints.

    Args:
        shared: addresses whose other methods a later route answers.
    """
    by_path: dict[str, list[Endpoint]] = {}
    for endpoint in endpoints:
        by_path.setdefault(endpoint.path, []).append(endpoint)
    return [
        Route(path, Resource(of_path), methods=_methods(of_path) if path in shared else None)
        for path, of_path in by_path.items()
    ]


def _methods(endpoints: Sequence[Endpoint]) -> list[str]:
    return [endpoint.method for endpoint in endpoints]


async def _perform(endpoint: Endpoint, request: Request) -> Response:
    visitor: Visitor | None = request.scope.get("state", {}).get("visitor")
    ensure_allowed(request, visitor, endpoint.needs)
    if endpoint.reads_body:
        return await _answer(endpoint, Call(request, visitor, None))
    csrf_token, data, is_text = await _read(endpoint, request)
    settings: WebSettings = request.app.state.runtime.settings
    # Without a role, the request does not act on behalf of the visitor: no CSRF check is needed.
    if isinstance(endpoint.needs, Role):
        ensure_meant(request, visitor, csrf_token, settings)
    given = parse_input(endpoint.takes, data, is_text=is_text)
    return await _answer(endpoint, Call(request, visitor, given))


async def _answer(endpoint: Endpoint, call: Call[Any]) -> Response:
    if inspect.iscoroutinefunction(endpoint.handler):
        result = await cast(Awaitable[Any], endpoint.handler(call))
    else:
        result = await run_in_threadpool(endpoint.handler, call)
    if isinstance(result, Response):
        return led_back(call.request, result)
    if result is None:
        return led_back(call.request, Response(status_code=endpoint.status))
    return led_back(call.request, json_response(result, endpoint.status))


def led_back(request: Request, response: Response) -> Response:
    """Give the answer to a change; a page's form is redirected back to its page after success.

    Programs and scripts get the answer itself. So does a form whose page is not known, or whose
    answer is a page of its own, for example one that shows a secret once.
    """
    page = page_behind(request) if is_form_of_a_browser(request) else None
    is_page = response.media_type == HTML
    if page is None or is_page or response.status_code >= FIRST_REDIRECT:
        return response
    return RedirectResponse(page, 303, background=response.background)


def json_response(
    view: BaseModel,
    status: int,
    *,
    after: BackgroundTask | None = None,
    headers: Mapping[str, str] | None = None,
) -> Response:
    """Give a view as JSON; `after` runs once the answer was sent."""
    return Response(view.model_dump_json(), status, headers, JSON, background=after)


async def _read(endpoint: Endpoint, request: Request) -> tuple[str | None, object, bool]:
    """Give the CSRF token of a form, the endpoint's input, and whether all values are text."""
    if request.method in SAFE_METHODS:
        # An endpoint without input ignores the query, because monitors often add one.
        return None, {} if endpoint.takes is Nothing else dict(request.query_params), True
    body = await whole_body(request)
    if is_form(request):
        form = await _parsed(_read_form, body)
        return form.pop(CSRF_FIELD, None), form, True
    if body and content_type(request) != JSON:
        raise MediaTypeError(f"send the body as {JSON}")
    return None, await _parsed(_read_json, body), False


async def _parsed(parse: Callable[[bytes], Parsed], body: bytes) -> Parsed:
    if len(body) <= READ_AT_ONCE:
        return parse(body)
    return await run_in_threadpool(parse, body)


async def whole_body(request: Request) -> bytes:
    """Read the whole body.

    Raises:
        PayloadError: the client disconnected before the end.
    """
    try:
        return await request.body()
    except ClientDisconnect:
        raise PayloadError("the body has no end") from None


def _read_form(body: bytes) -> dict[str, str]:
    try:
        return texts_of(body)
    except ValueError:
        raise PayloadError("the form cannot be read") from None


def _read_json(body: bytes) -> object:
    if not body:
        return {}
    try:
        data = strict_json(body)
        ensure_storable(data, most_names=MOST_FIELDS)
    except ValueError as exc:
        raise PayloadError(f"the body cannot be read: {exc}") from None
    return data


def content_type(request: Request) -> str:
    """Give the media type of the body, without its parameters."""
    return request.headers.get("content-type", "").partition(";")[0].strip().lower()


def is_form(request: Request) -> bool:
    """Whether the body is a browser's form."""
    return content_type(request) == FORM
