"""/api/tokens: keys for programs."""

from sqlmodel import select

from jobs.models import ApiToken
from jobs.records.access import create_token, revoke_token, tokens
from jobs.views import Page, TokenView
from receiver.routing import Call, Nothing
from receiver.schemas import CreatedTokenView, TokenInput


def list_tokens(call: Call[Nothing]) -> Page[TokenView]:
    """List the API tokens without their values, newest first."""
    with call.reading() as session:
        views = [TokenView.model_validate(row.model_dump()) for row in tokens(session)]
    return Page[TokenView](items=views)


def make_token(call: Call[TokenInput]) -> CreatedTokenView:
    """Make an API token; its value is in this answer and nowhere else."""
    with call.writing() as session:
        token = create_token(session, name=call.given.name, role=call.given.role, actor=call.actor)
        session.flush()
        row = session.exec(select(ApiToken).where(ApiToken.name == call.given.name)).one()
        return CreatedTokenView(**row.model_dump(), token=token.get_secret_value())


def delete_token(call: Call[Nothing]) -> None:
    """Make an API token worthless, at once."""
    with call.writing() as session:
        revoke_token(session, call.name(), call.actor)
