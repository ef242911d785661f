"""The column types of the tables, and the naming convention of their constraints."""

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

# Alembic can change a constraint on SQLite later only if the constraint has a name.
SQLModel.metadata.naming_convention = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s_%(referred_table_name)s",
        "pk": "pk_%(table_name)s",
    }
).naming_convention


# Without AUTOINCREMENT, SQLite may reuse the id of a removed row. The new row would then share the
# old one's log file, container name and entries in the audit trail.
NUMBERS_ONCE = {"sqlite_autoincrement": True}


def now() -> datetime:
    """Give the present time, aware, in UTC."""
    return datetime.now(UTC)


class WordColumn(TypeDecorator[Word]):
    """A StrEnum stored as its value, so that a new value needs no migration."""

    impl = String(32)
    cache_ok = True

    def __init__(self, words: type[Word]) -> None:
        self.words = words
        super().__init__()

    def process_bind_param(self, value: Word | None, dialect: Dialect) -> str | None:  # noqa: ARG002
        """Convert the enum to its value."""
        return None if value is None else str(self.words(value))

    def process_result_value(self, value: Any, dialect: Dialect) -> Word | None:  # noqa: ANN401, ARG002
        """Convert the value back to its enum."""
        return None if value is None else self.words(value)


class OneLine(TypeDecorator[str]):
    """One line of text for people, cleaned when it is stored and when it is read.

    It is cleaned on reading too, because earlier versions stored misleading characters. Do not use
    it for text that is compared with outside values, like a ref or a commit: that must stay exact.
    """

    impl = String
    cache_ok = True
    cleaned: Callable[[str], str] = staticmethod(one_line)

    def __init__(self, length: int) -> None:
        self.length = length
        super().__init__(length)

    def process_bind_param(self, value: str | None, dialect: Dialect) -> str | None:  # noqa: ARG002
        """Clean the text before it is stored."""
        return None if value is None else self.cleaned(value)

    def process_result_value(self, value: Any, dialect: Dialect) -> str | None:  # noqa: ANN401, ARG002
        """Clean the text that was read."""
        return None if value is None else self.cleaned(value)


class ShownName(OneLine):
    """A `OneLine` that names a person or thing; removed characters are marked."""

    cache_ok = True
    cleaned = staticmethod(shown_name)


class SeveralLines(OneLine):
    """A `OneLine` that keeps its line ends."""

    cache_ok = True
    cleaned = staticmethod(several_lines)


class ValueColumn(TypeDecorator[Value]):
    """A frozen pydantic model, stored as a JSON object; assign a new one to save a change."""

    impl = JSON
    cache_ok = True

    def __init__(self, kind: type[Value]) -> None:
        self.kind = kind
        super().__init__()

    def process_bind_param(self, value: Value | None, dialect: Dialect) -> Any:  # noqa: ANN401, ARG002
        """Convert the model to a JSON object.

        Fields that are None are left out; a missing field is read as None. So an earlier version,
        in which a field cannot be None, still reads the object, with that field's default.
        """
        return None if value is None else value.model_dump(mode="json", exclude_none=True)

    def process_result_value(self, value: Any, dialect: Dialect) -> Value | None:  # noqa: ANN401, ARG002
        """Convert the JSON object back; missing fields get their defaults."""
        return None if value is None else self.kind.kept(value)


class DoneBySomebody(SQLModel):
    """The columns for the actor of a row."""

    actor_kind: ActorKind = Field(sa_type=WordColumn(ActorKind))
    actor_name: str = Field(sa_type=ShownName(200))

    @property
    def actor(self) -> str:
        """The actor in written form: `user:ada`."""
        return str(Actor(self.actor_kind, self.actor_name))


def json_column() -> Column[Any]:
    """Make a column for a JSON list or object; assign a new one to save a change."""
    return Column(JSON, nullable=False)
