"""Handles the forms of the settings pages: calls the API's functions, redraws refused forms.

A browser can only POST, and sends text. The field `do` says which of a page's forms it sent.
"""

import inspect
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

from pydantic import BaseModel, RootModel
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from dashboard.forms import (
    DRAWN,
    Field,
    Filled,
    Texts,
    data_of,
    drawn_of,
    has_secrets,
    not_readable,
    overtaken,
    said,
    said_drawn,
    sorted_out,
    text_of,
    texts_of,
    touched,
)
from dashboard.pages import kept
from jobs.errors import (
    AccessError,
    ConfigurationError,
    ConflictError,
    GitHubError,
    KeystoneError,
    Mistake,
    NotFoundError,
    QueueError,
    RefusedError,
    StorageError,
)
from jobs.rules.mistakes import parse_input
from jobs.states import Role
from receiver.access import CSRF_FIELD, ensure_meant, ensure_same_origin
from receiver.errors import (
    UNAVAILABLE,
    BusyError,
    CsrfError,
    PayloadError,
    status_of,
)
from receiver.routing import HTML, Call, Endpoint, Handler, Nothing, is_form, whole_body

logger = logging.getLogger(__name__)

# Errors that the user can correct or wait out: the form is drawn again with them. All others get
# the usual error answer.
TOLD = (
    AccessError,
    BusyError,
    ConfigurationError,
    ConflictError,
    CsrfError,
    GitHubError,
    NotFoundError,
    QueueError,
    StorageError,
)
OTHER_SESSION = (
    "this form was not sent by your present session, so nothing was changed; look it over and "
    "send it again"
)
Draw = Callable[[Request, Filled], Response]
# Arguments: the call, and the result of the API's function.
Then = Callable[[Call[Any], Any], Response]


class OvertakenError(ConflictError):
    """A form changes fields that somebody else has changed since the form was drawn.

    Attributes:
        present: the current texts of those fields.
    """

    def __init__(self, fields: Sequence[Field], present: Texts) -> None:
        self.present = {one.name: present[one.name] for one in fields}
        super().__init__(*(_overtaken(one, present[one.name]) for one in fields))


def _overtaken(one: Field, present: str) -> Mistake:
    told = (
        f"is {said(one, present)} by now, which somebody else has set meanwhile; "
        "save again to have it your way"
    )
    return Mistake(one.name, told)


class Sent(RootModel[dict[str, str]]):
    """A form as the browser sent it: texts by the names of its fields."""


@dataclass(frozen=True)
class Sheet:
    """One form of a page.

    Attributes:
        act: the API's function that the form calls.
        takes: the input model of that function.
        fields: the form's fields, to parse them and to put error messages beside them.
        places: the fields that are path parameters in the API.
        fixed: values that the form sends besides its fields.
        subject: the field that names the form's object, on a page with one form per object.
        done: the key of the page's success message; empty: the form's own name.
        then: makes the answer after success, instead of the redirect back to the page.
        kept: reads the stored values, if the form shows stored values.
    """

    act: Handler
    takes: type[BaseModel] = Nothing
    fields: Sequence[Field] = ()
    places: Sequence[str] = ()
    fixed: Mapping[str, object] = field(default_factory=dict)
    subject: str = ""
    done: str = ""
    then: Then | None = None
    kept: Callable[[Call[Any]], BaseModel] | None = None

    def parsed(self, texts: Texts) -> BaseModel:
        """Parse the input of the API's function, from the fields that the user changed.

        Raises:
            ConfigurationError: the input is not valid; lists every mistake.
        """
        changed = touched(self.fields, texts)
        sent = [one for one in changed if one.name not in self.places]
        mistakes = not_readable(sent, texts)
        try:
            data = {**data_of(sent, texts), **self.fixed}
            given = parse_input(self.takes, data, is_text=True)
        except ConfigurationError as exc:
            raise ConfigurationError(*mistakes, *exc.mistakes) from None
        if mistakes:
            raise ConfigurationError(*mistakes)
        return given

    def ensure_not_overtaken(self, call: Call[Any], texts: Texts) -> None:
        """Make sure that the sender of the form has seen the values that it changes.

        Raises:
            OvertakenError: somebody else has changed them since the form was drawn.
        """
        if self.kept is None:
            return
        kept = self.kept(call)
        present = {one.name: text_of(getattr(kept, one.name)) for one in self.fields}
        if fields := overtaken(self.fields, texts, present):
            raise OvertakenError(fields, present)

    def refused(self, do: str, texts: Texts, exc: KeystoneError) -> Filled:
        """Give the refused form for drawing it again, with its texts and error messages."""
        problems = sorted_out(_mistakes(exc), self.fields)
        is_forgetful = has_secrets(self.fields, texts)
        subject = texts.get(self.subject, "")
        if isinstance(exc, OvertakenError):
            # The message beside the field shows the current value, so count it as seen: saving
            # again overwrites it.
            drawn = {**(drawn_of(texts) or {}), **exc.present}
            texts = {**texts, DRAWN: said_drawn(drawn)}
        return Filled(do, subject, texts, problems, status_of(exc), is_forgetful)


def page_of_sheets(
    path: str, draw: Draw, sheets: Mapping[str, Sheet], *, needs: Role = Role.ADMIN
) -> Endpoint:
    """Make the endpoint that takes every form of a page.

    Args:
        draw: draws the dashboard's page, to show a refused form again.
        sheets: the forms, by the value of their field `do`.
    """
    return Endpoint(
        "POST",
        path,
        partial(_take, draw, sheets),
        needs=needs,
        takes=Sent,
        gives=HTML,
        also=(303,),
        # The handler checks the CSRF token itself: a form without it is drawn again with its texts.
        reads_body=True,
    )


async def _take(draw: Draw, sheets: Mapping[str, Sheet], call: Call[None]) -> Response:
    # Never draw a form that another site made the browser send: the user might send it again.
    ensure_same_origin(call.request, call.settings)
    texts = await _read(call.request) if is_form(call.request) else {}
    csrf_token = texts.pop(CSRF_FIELD, None)
    do = texts.get("do", "")
    if (sheet := sheets.get(do)) is None:
        ensure_meant(call.request, call.visitor, csrf_token, call.settings)
        raise PayloadError("this form does not say what it wants; load its page again")
    places = {name: texts.get(name, "").strip() for name in sheet.places}
    call.request.path_params.update(places)
    try:
        ensure_meant(call.request, call.visitor, csrf_token, call.settings)
        result = await _act(sheet, call, texts)
    except TOLD as exc:
        return await _draw_again(draw, call.request, sheet.refused(do, texts, exc))
    if sheet.then is not None:
        return await run_in_threadpool(sheet.then, call, result)
    return RedirectResponse(f"{call.request.url.path}?done={sheet.done or do}", 303)


async def _read(request: Request) -> dict[str, str]:
    try:
        return await run_in_threadpool(_texts_of, await whole_body(request))
    except ValueError:
        raise PayloadError("the form cannot be read") from None


def _texts_of(body: bytes) -> dict[str, str]:
    texts = parse_input(Sent, texts_of(body)).root
    drawn_of(texts)  # raises ValueError now, so that later calls cannot fail
    return texts


async def _draw_again(draw: Draw, request: Request, filled: Filled) -> Response:
    try:
        return await run_in_threadpool(draw, request, filled)
    except StorageError:
        return kept.show(request, {**filled.texts, "do": filled.do}, kept.NO_DATABASE)


def _mistakes(exc: KeystoneError) -> Sequence[Mistake]:
    match exc:
        case RefusedError():
            return exc.mistakes
        case CsrfError():
            return [Mistake("", OTHER_SESSION)]
        case StorageError():
            # The driver's message may name hosts and files, so it goes only to the log.
            logger.error("A form was not taken: %s", exc, extra={"action": "storage_failed"})
            return [Mistake("", UNAVAILABLE)]
        case _:
            return [Mistake("", str(exc))]


async def _act(sheet: Sheet, call: Call[None], texts: Texts) -> object:
    mine: Call[Any] = replace(call, given=sheet.parsed(texts))  # type: ignore[arg-type]
    await run_in_threadpool(sheet.ensure_not_overtaken, mine, texts)
    if inspect.iscoroutinefunction(sheet.act):
        return await sheet.act(mine)
    return await run_in_threadpool(sheet.act, mine)
