"""/api/tokens: API tokens for programs."""

from sqlmodel import select

from jobs.reads.account_views import TokenView
from jobs.reads.people import api_token_view, tokens
from jobs.reads.views import Page
from jobs.records.tokens import create_api_token, revoke_api_token
from jobs.states import Role
from jobs.storage.models import ApiToken
from receiver.routing import Call, Endpoints, Nothing
from receiver.schemas import CreatedTokenView, TokenInput

ENDPOINTS = Endpoints()


@ENDPOINTS.add("GET", "/api/tokens", needs=Role.ADMIN)
def list_tokens(call: Call[Nothing]) -> Page[TokenView]:
    """List the API tokens without their values, newest first, including ended ones."""
    with call.reading() as session:
        return Page[TokenView](items=[api_token_view(row) for row in tokens(session)])


@ENDPOINTS.add("POST", "/api/tokens", needs=Role.ADMIN, status=201, errors=(409,))
def make_token(call: Call[TokenInput]) -> CreatedTokenView:
    """Make an API token; its value is in this answer and nowhere else.

    Every token expires, so that a forgotten one does not stay valid for ever.
    """
    given = call.given
    with call.writing() as session:
        token = create_api_token(
            session,
            name=given.name,
            role=given.role,
            actor=call.actor,
            days=given.expires_in_days,
        )
        session.flush()
        row = session.exec(select(ApiToken).where(ApiToken.name == given.name)).one()
        return CreatedTokenView(**api_token_view(row).model_dump(), token=token.get_secret_value())


@ENDPOINTS.add("DELETE", "/api/tokens/{name}", needs=Role.ADMIN)
def delete_token(call: Call[Nothing]) -> None:
    """Revoke an API token, at once."""
    with call.writing() as session:
        revoke_api_token(session, call.name(), call.actor)
