"""The kinds of column the tables are made of, and how their constraints are named."""

from collections.abc import Callable
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any, TypeVar

from sqlalchemy import JSON, Column, Dialect, MetaData, String, TypeDecorator
from sqlmodel import Field, SQLModel

from jobs.rules.actors import Actor
from jobs.rules.app_settings import Settings
from jobs.rules.text import one_line, several_lines, shown_name
from jobs.states import ActorKind

Word = TypeVar("Word", bound=StrEnum)
Value = TypeVar("Value", bound=Settings)

# Named constraints let Alembic change them later on SQLite too.
SQLModel.metadata.naming_convention = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s_%(referred_table_name)s",
        "pk": "pk_%(table_name)s",
    }
).naming_convention


# SQLite would give the id of a removed row to the next one, and with it its log file, its
# container's name and its place in the audit trail.
NUMBERS_ONCE = {"sqlite_autoincrement": True}


def now() -> datetime:
    """Give the present moment, aware, in UTC."""
    return datetime.now(UTC)


class WordColumn(TypeDecorator[Word]):
    """A StrEnum stored as its own word, so that a new word needs no migration."""

    impl = String(32)
    cache_ok = True

    def __init__(self, words: type[Word]) -> None:
        self.words = words
        super().__init__()

    def process_bind_param(self, value: Word | None, dialect: Dialect) -> str | None:  # noqa: ARG002
        """Store the word."""
        return None if value is None else str(self.words(value))

    def process_result_value(self, value: Any, dialect: Dialect) -> Word | None:  # noqa: ANN401, ARG002
        """Read the word back as its enum."""
        return None if value is None else self.words(value)


class OneLine(TypeDecorator[str]):
    """Text that people read on one line, cleaned when it is stored and when it is read.

    Earlier versions have stored it with characters that would fool a reader. Not for what is
    compared with the outside, as a ref or a commit: that is kept as it is.
    """

    impl = String
    cache_ok = True
    cleaned: Callable[[str], str] = staticmethod(one_line)

    def __init__(self, length: int) -> None:
        self.length = length
        super().__init__(length)

    def process_bind_param(self, value: str | None, dialect: Dialect) -> str | None:  # noqa: ARG002
        """Store what may be shown."""
        return None if value is None else self.cleaned(value)

    def process_result_value(self, value: Any, dialect: Dialect) -> str | None:  # noqa: ANN401, ARG002
        """Read what may be shown."""
        return None if value is None else self.cleaned(value)


class ShownName(OneLine):
    """Such text that says who or what it was: what is left out of it is marked."""

    cache_ok = True
    cleaned = staticmethod(shown_name)


class SeveralLines(OneLine):
    """Such text with its line ends."""

    cache_ok = True
    cleaned = staticmethod(several_lines)


class ValueColumn(TypeDecorator[Value]):
    """A frozen pydantic model, stored as a JSON object; a change is saved by assigning another."""

    impl = JSON
    cache_ok = True

    def __init__(self, kind: type[Value]) -> None:
        self.kind = kind
        super().__init__()

    def process_bind_param(self, value: Value | None, dialect: Dialect) -> Any:  # noqa: ANN401, ARG002
        """Store the object."""
        return None if value is None else value.model_dump(mode="json")

    def process_result_value(self, value: Any, dialect: Dialect) -> Value | None:  # noqa: ANN401, ARG002
        """Read the object back; what it lacks is as it comes."""
        return None if value is None else self.kind.kept(value)


class DoneBySomebody(SQLModel):
    """The columns of a row that somebody is answerable for."""

    actor_kind: ActorKind = Field(sa_type=WordColumn(ActorKind))
    actor_name: str = Field(sa_type=ShownName(200))

    @property
    def actor(self) -> str:
        """Who, as people and programs read it: `user:ada`."""
        return str(Actor(self.actor_kind, self.actor_name))


def json_column() -> Column[Any]:
    """Make a column for a JSON list or object; a change is saved by assigning a new one."""
    return Column(JSON, nullable=False)
