"""Forms of the settings pages: read, handed to the API's own functions, drawn again when refused.

A browser can only POST, and sends text. Which of a page's forms it sent stands in the field `do`.
"""

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

from pydantic import BaseModel, RootModel
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from dashboard.forms import Field, Filled, Texts, data_of, sorted_out
from jobs.app_input import parse_input
from jobs.errors import (
    AccessError,
    ConfigurationError,
    ConflictError,
    GitHubError,
    KeystoneError,
    NotFoundError,
    QueueError,
)
from jobs.states import Role
from receiver.errors import PayloadError, RateLimitedError, status_of
from receiver.routing import Call, Endpoint, Handler, Nothing

# What a person can mend, or wait for; everything else is answered as to anybody.
TOLD = (
    AccessError,
    ConfigurationError,
    ConflictError,
    GitHubError,
    NotFoundError,
    QueueError,
    RateLimitedError,
)
Draw = Callable[[Request, Filled], Response]
# Args: the call, and what the API's function gave.
Then = Callable[[Call[Any], Any], Response]


class Sent(RootModel[dict[str, str]]):
    """A form as it was sent: text by the names of its fields."""


@dataclass(frozen=True)
class Sheet:
    """One form of a page.

    Attributes:
        act: the API's function that does it.
        takes: what that function takes.
        fields: what the form has, for what is sent and for the sentences beside them.
        places: the fields that the API has in its address.
        fixed: what the form means besides its fields.
        subject: the field that says which of several alike the form is about.
        done: the word by which the page says what was done; empty: what the form is called.
        then: where to go instead of back to the page.
    """

    act: Handler
    takes: type[BaseModel] = Nothing
    fields: Sequence[Field] = ()
    places: Sequence[str] = ()
    fixed: Mapping[str, object] = field(default_factory=dict)
    subject: str = ""
    done: str = ""
    then: Then | None = None

    def data(self, texts: Texts) -> dict[str, object]:
        """Give what the API would be sent."""
        sent = [one for one in self.fields if one.name not in self.places]
        return {**data_of(sent, texts), **self.fixed}

    def refused(self, do: str, texts: Texts, exc: KeystoneError) -> Filled:
        """Give the form as it is drawn again, with what was typed and what is wrong with it."""
        problems = sorted_out(str(exc).split("\n"), self.fields)
        return Filled(do, texts.get(self.subject, ""), texts, problems, status_of(exc))


def page_of_sheets(
    path: str, draw: Draw, sheets: Mapping[str, Sheet], *, needs: Role = Role.ADMIN
) -> Endpoint:
    """Make the endpoint that takes every form of a page.

    Args:
        draw: the dashboard's page, which shows a refused form again.
        sheets: the forms by their field `do`.
    """
    handler = partial(_take, draw, sheets)
    return Endpoint("POST", path, handler, needs=needs, takes=Sent, gives="text/html", also=(303,))


async def _take(draw: Draw, sheets: Mapping[str, Sheet], call: Call[Sent]) -> Response:
    texts = call.given.root
    do = texts.get("do", "")
    if (sheet := sheets.get(do)) is None:
        raise PayloadError("this form does not say what it wants; load its page again")
    places = {name: texts.get(name, "").strip() for name in sheet.places}
    call.request.path_params.update(places)
    try:
        result = await _act(sheet, call, texts)
    except TOLD as exc:
        return await run_in_threadpool(draw, call.request, sheet.refused(do, texts, exc))
    if sheet.then is not None:
        return await run_in_threadpool(sheet.then, call, result)
    return RedirectResponse(f"{call.request.url.path}?done={sheet.done or do}", 303)


async def _act(sheet: Sheet, call: Call[Sent], texts: Texts) -> object:
    given = parse_input(sheet.takes, sheet.data(texts))
    mine: Call[Any] = replace(call, given=given)  # type: ignore[arg-type]
    if inspect.iscoroutinefunction(sheet.act):
        return await sheet.act(mine)
    return await run_in_threadpool(sheet.act, mine)
