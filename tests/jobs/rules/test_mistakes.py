"""Mistakes: what is wrong with an input, kept as a value and said in one way."""

import string

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, TypeAdapter, ValidationError

from jobs.errors import ConfigurationError, Mistake
from jobs.rules.app_fields import AppInput
from jobs.rules.apps_file import read_apps
from jobs.rules.mistakes import LONGEST_PLACE, mistakes_of, parse_input

GOOD = {"name": "web", "repository": "octo/web"}


def mistakes(**fields: object) -> list[Mistake]:
    with pytest.raises(ConfigurationError) as refused:
        parse_input(AppInput, {**GOOD, **fields})
    return list(refused.value.mistakes)


@pytest.mark.parametrize(
    ("mistake", "words"),
    [
        (Mistake("", "nothing was given"), "nothing was given"),
        (Mistake("name", "is required"), "name: is required"),
        (Mistake("domains", "is too long", 2), "domains.2: is too long"),
        (Mistake("labels", "is no text", "a.b"), "labels.a.b: is no text"),
        (Mistake("labels", "is no text", ""), "labels.: is no text"),
        (
            Mistake("processes", "is empty", "web", ("command", 0)),
            "processes.web.command.0: is empty",
        ),
        (Mistake("value", "is too long", called="TOKEN"), "TOKEN: is too long"),
        (Mistake("", "is of another key", called="key"), "key: is of another key"),
        (Mistake("port", "is taken").below("apps", "web"), "apps.web.port: is taken"),
        (Mistake("", "is no name").below("web").below("apps"), "apps.web: is no name"),
    ],
)
def test_there_is_one_way_to_say_a_mistake(mistake: Mistake, words: str) -> None:
    assert str(mistake) == words
    assert str(ConfigurationError(mistake, "and so on")) == f"{words}\nand so on"


def test_a_text_is_a_mistake_of_no_field() -> None:
    refused = ConfigurationError("git: is not installed")
    assert refused.mistakes == (Mistake("", "git: is not installed"),)
    assert not refused.mistakes[0].is_of_field


def test_the_third_entry_of_a_list_says_its_index() -> None:
    (found,) = mistakes(volumes=["a:/a", "b:/b", "c"])
    assert (found.field, found.index) == ("volumes", 2)
    assert str(found) == f"volumes.2: {found.message}"


def test_a_key_may_hold_what_separates_a_place_from_its_message() -> None:
    (found,) = mistakes(labels={"a: b": "c"})
    assert (found.field, found.index) == ("labels", "a: b")
    assert str(found) == "labels.a: b.[key]: is not a name for a label"


def test_what_is_no_object_is_wrong_as_a_whole() -> None:
    with pytest.raises(ConfigurationError) as refused:
        parse_input(AppInput, [])
    (found,) = refused.value.mistakes
    assert not found.is_of_field
    assert str(found).startswith("body: ")


class Nested(BaseModel):
    """A model whose places have many parts."""

    a: dict[str, dict[str, list[int]]]


@given(
    st.text(string.ascii_letters + ".:", max_size=220),
    st.text(string.ascii_letters + ".:", max_size=220),
)
def test_places_are_cut_as_a_whole(first: str, second: str) -> None:
    with pytest.raises(ValidationError) as refused:
        Nested.model_validate({"a": {first: {second: [1, "x"]}}})
    (found,) = mistakes_of(refused.value)
    place = ".".join(("a", first, second, "1"))[:LONGEST_PLACE]
    assert str(found) == f"{place}: {found.message}"


def test_what_is_not_of_a_model_has_no_field() -> None:
    with pytest.raises(ValidationError) as refused:
        TypeAdapter(int).validate_python("x")
    (found,) = mistakes_of(refused.value)
    assert not found.is_of_field


def test_places_in_an_apps_file_are_paths() -> None:
    text = """
    surprise = 1
    [apps.web]
    domains = ["a.example.com", "b.example.com", "c d"]
    tokn = 1
    [apps.web.env]
    PORT = "1"
    LEVEL = 1
    """

    def find(_reference: object) -> object:
        raise AssertionError

    with pytest.raises(ConfigurationError) as refused:
        read_apps(text, find)  # type: ignore[arg-type]
    told = {(each.above, each.field, each.index) for each in refused.value.mistakes}
    assert told == {
        ((), "surprise", None),
        (("apps", "web"), "tokn", None),
        (("apps", "web", "env"), "variable", None),
        (("apps", "web", "env"), "LEVEL", None),
        (("apps", "web"), "domains", 2),
    }
    sentences = str(refused.value).splitlines()
    assert "apps.web.env.PORT: Keystone sets this one itself" in sentences
    assert any(each.startswith("apps.web.domains.2: ") for each in sentences)
