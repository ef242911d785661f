"""The form field of every setting of an app, made from its declaration. Pure.

`jobs.rules.app_settings` and `jobs.rules.app_fields` declare each field with its label, its hint
and its section.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from types import NoneType
from typing import get_args

from pydantic import SecretStr
from pydantic.fields import FieldInfo

from dashboard.forms import Field, Kind, text_of
from jobs.rules.app_fields import AppInput, default_of, field_names, shown, type_of
from jobs.rules.app_settings import Section

KINDS: dict[type, Kind] = {
    bool: Kind.SWITCH,
    int: Kind.NUMBER,
    float: Kind.NUMBER,
    list: Kind.LIST,
    tuple: Kind.LIST,
    dict: Kind.PAIRS,
    SecretStr: Kind.SECRET,
}


@dataclass(frozen=True)
class FormSection:
    """A titled group of fields."""

    title: str
    fields: Sequence[Field]


def _kind(known: FieldInfo) -> Kind:
    found = type_of(known)
    return Kind.CHOICE if issubclass(found, StrEnum) else KINDS.get(found, Kind.LINE)


def _field(name: str) -> Field:
    known, look = AppInput.model_fields[name], shown(name)
    kind = _kind(known)
    return Field(
        name,
        f"{look.label} ({look.unit})" if look.unit else look.label,
        kind,
        hint=look.hint or _for_people(known),
        may_be_none=NoneType in get_args(known.annotation),
        choices=[(word.value, said[:1].upper() + said[1:]) for word, said in look.words.items()],
        start="" if known.is_required() else text_of(default_of(known)),
    )


def _for_people(known: FieldInfo) -> str:
    told = known.description or ""
    if _kind(known) is Kind.LIST and not told.endswith("."):
        told = f"{told}. One a line"
    return told.replace("null:", "empty:").replace("Null:", "Empty:")


FIELDS = {name: _field(name) for name in field_names()}
NAME, REPOSITORY, BRANCH, TOKEN, DOMAINS = (
    FIELDS[name] for name in ("name", "repository", "branch", "token", "domains")
)


def _section(section: Section) -> FormSection:
    return FormSection(
        section, [one for name, one in FIELDS.items() if shown(name).section is section]
    )


SECTIONS = tuple(_section(each) for each in Section if each not in {Section.APP, Section.ADDRESSES})
CONFIGURATION = tuple(one for section in SECTIONS for one in section.fields)
FIRST = (NAME, REPOSITORY, BRANCH, TOKEN)
REST = tuple(
    FormSection(section.title, [one for one in section.fields if one not in FIRST])
    for section in (*SECTIONS, _section(Section.ADDRESSES))
)
NEW_APP = (*FIRST, *(one for section in REST for one in section.fields))
