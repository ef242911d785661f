"""The filter fields above a list: reads them from the query, and writes them into page links."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from enum import StrEnum
from typing import TypeVar
from urllib.parse import urlencode

from starlette.requests import Request

LONGEST = 200
YEARS = range(1970, 3000)

Word = TypeVar("Word", bound=StrEnum)


def filters_of(request: Request, names: Sequence[str]) -> dict[str, str]:
    """Read the fields of these names, without surrounding white space; empty: not given."""
    query = request.query_params
    # Drop NULs: no database of ours stores them, and PostgreSQL refuses them in a query.
    return {name: query.get(name, "").replace("\0", "").strip()[:LONGEST] for name in names}


def query_of(wanted: Mapping[str, str]) -> str:
    """Write the fields that are set as the query of an address."""
    return urlencode({name: value for name, value in wanted.items() if value})


def word_of(words: type[Word], text: str) -> Word | None:
    """Give the member of an enumeration with this text; None if there is none."""
    return next((word for word in words if word == text), None)


def day_of(text: str) -> datetime | None:
    """Give the beginning of a day like `2026-11-23`, in UTC; None if it is not a valid day."""
    try:
        day = datetime.strptime(text, "%Y-%m-%d").replace(tzinfo=UTC)
    except ValueError:
        return None
    # Close to the ends of the calendar, the day before or after cannot be represented.
    return day if day.year in YEARS else None
