"""Text of forms: every value of the API's comes back as it was, whatever a browser does to it."""

import json
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dashboard.app_fields import CONFIGURATION, DOMAINS
from dashboard.forms import (
    DRAWN,
    SECRETS,
    Field,
    Filled,
    Kind,
    Texts,
    data_of,
    drawn_of,
    not_readable,
    overtaken,
    said,
    text_of,
    touched,
)
from jobs.rules.app_fields import AppChange
from jobs.rules.mistakes import parse_input
from jobs.rules.text import TRICKS

FIELDS = (*CONFIGURATION, DOMAINS)
COMMAND = next(one for one in FIELDS if one.name == "command")
LABELS = next(one for one in FIELDS if one.name == "labels")
MEMORY = next(one for one in FIELDS if one.name == "memory_mb")
AUTO_DEPLOY = next(one for one in FIELDS if one.name == "auto_deploy")
ON_NEW_PUSH = next(one for one in FIELDS if one.name == "on_new_push")

UNSAID = Filled()  # as it is drawn for the first time

ODD = st.sampled_from(' \t\n\u3000"\\=,:[]{}ab')
CHARACTERS = ODD | st.characters(codec="utf-8").filter(lambda sign: not TRICKS.search(sign))


def text(least: int, most: int) -> st.SearchStrategy[str]:
    return st.text(CHARACTERS, min_size=least, max_size=most)


LABEL_NAMES = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._/@-]{0,20}", fullmatch=True).filter(
    lambda name: not name.startswith("keystone.")
)
INSIDE = st.text(st.sampled_from(' "=ab.,é\u3000'), min_size=1, max_size=8).filter(
    lambda path: ".." not in path
)
# In the form in which they are stored.
PATTERNS = st.sampled_from(
    ["api/**", "!docs", 'a "b"', "x=y:z", "[ab]{c}", r"\*", "é\u3000é/*", r"a\,b", "x\ty"]
)
CHANGES = st.builds(
    AppChange,
    command=st.none() | st.lists(text(0, 12), min_size=1, max_size=5),
    labels=st.dictionaries(LABEL_NAMES, text(0, 12), max_size=4),
    skip_phrases=st.lists(text(3, 12), max_size=4),
    watch_paths=st.lists(PATTERNS, max_size=4),
    tag_pattern=st.none() | st.sampled_from(["v*", "v*,!*-rc*", 'r"=a"[0-9]+']),
    context=INSIDE,
    dockerfile=INSIDE,
    volumes=st.lists(st.sampled_from(["data:/var/lib/a b ", 'a:/"', "a:/b\u3000"]), max_size=2),
    cpus=st.none() | st.floats(0, 1024, exclude_min=True),
    health_host=st.none() | st.sampled_from(["app.example.com", "[::1]:80", "localhost:3000"]),
    health_interval_s=st.none() | st.floats(0.01, 600),
    auto_deploy=st.booleans(),
    domains=st.lists(st.sampled_from(["a.example.com", "b.example.com"]), unique=True),
)


def texts_of_change(change: AppChange) -> dict[str, str]:
    """Write every field, as the pages do."""
    return {one.name: text_of(getattr(change, one.name)) for one in FIELDS}


def sent_back(texts: Texts) -> dict[str, str]:
    """Do to the fields what a browser does: HTML knows one line break, a sent form another."""
    plain = {name: re.sub("\r\n?", "\n", held) for name, held in texts.items()}
    for one in FIELDS:
        if one.kind not in {Kind.LIST, Kind.PAIRS}:
            plain[one.name] = plain[one.name].replace("\n", "")
    return {name: held.replace("\n", "\r\n") for name, held in plain.items() if held}


@given(CHANGES)
def test_every_value_the_api_takes_comes_back_as_it_was(change: AppChange) -> None:
    sent = sent_back(texts_of_change(change))
    assert not_readable(FIELDS, sent) == []
    assert parse_input(AppChange, data_of(FIELDS, sent), is_text=True).given() == {
        one.name: getattr(change, one.name) for one in FIELDS
    }


@given(CHANGES, CHANGES)
def test_only_what_was_changed_counts_as_touched(before: AppChange, after: AppChange) -> None:
    sent = sent_back(texts_of_change(after) | UNSAID.drawn(texts_of_change(before)))
    differing = {
        one.name for one in FIELDS if getattr(before, one.name) != getattr(after, one.name)
    }
    assert {one.name for one in touched(FIELDS, sent)} == differing
    assert overtaken(FIELDS, sent, texts_of_change(before)) == []
    assert overtaken(FIELDS, sent, texts_of_change(after)) == []


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (["sh", "-c", "exec web"], "sh\n-c\nexec web"),
        (["set -e\n exec web", ""], '"set -e\\n exec web"\n""'),
        (["wip ", '"quoted"', "a\rb", "é\n"], '"wip "\n"\\"quoted\\""\n"a\\rb"\n"é\\n"'),
        ({"a": "x\ny=1", "b": " 1"}, '"a=x\\ny=1"\nb= 1'),
        (' "v*', '" \\"v*"'),
        ("", ""),
        (None, ""),
    ],
)
def test_only_what_is_no_plain_line_is_written_as_json(value: object, expected: str) -> None:
    assert text_of(value) == expected


def test_what_is_typed_as_plain_lines_is_read_as_before() -> None:
    texts = {"command": ' sh \r\n\r\n-c\r\nsay "hi"\r\n', "labels": " a = 1 \r\nb"}
    assert data_of([COMMAND, LABELS], texts) == {
        "command": ["sh", "-c", 'say "hi"'],
        "labels": {"a": " 1", "b": ""},
    }


@pytest.mark.parametrize("line", ['"', '"open', '"a" b', '"a"b"', '"\\x"', '"\\ud800"', '"a\tb"'])
def test_a_line_in_quotes_that_is_no_json_is_told_of(line: str) -> None:
    branch = Field("branch", "Branch")
    texts = {"command": f"sh\n\n{line}", "labels": line, "branch": line, "memory_mb": line}
    mistakes = not_readable([COMMAND, LABELS, branch, MEMORY], texts)
    assert [(each.field, each.index) for each in mistakes] == [
        ("command", 1),
        ("labels", 0),
        ("branch", None),
    ]
    told = [str(each) for each in mistakes]
    assert [sentence.partition(": ")[0] for sentence in told] == ["command.1", "labels.0", "branch"]
    assert all("\n" not in sentence and "JSON string" in sentence for sentence in told)


# --- What a form says of what it showed ------------------------------------------------------


def test_a_form_says_what_it_showed_at_first_however_often_it_is_drawn() -> None:
    hidden = UNSAID.drawn({"branch": "main", "domains": ""})
    assert drawn_of(hidden) == {"branch": "main", "domains": ""}
    again = Filled("save", texts={**hidden, "branch": "next"})
    assert again.drawn({"branch": "other"}) == hidden


def test_a_form_that_does_not_say_what_it_showed_is_touched_everywhere() -> None:
    assert touched([COMMAND, LABELS], {"command": "sh"}) == [COMMAND, LABELS]
    assert overtaken([COMMAND, LABELS], {"command": "sh"}, {"command": "", "labels": ""}) == []


def test_what_was_not_drawn_is_touched_when_something_is_typed() -> None:
    token = Field("token", "Token", Kind.SECRET)
    assert touched([token], {DRAWN: "{}"}) == []
    assert touched([token], {DRAWN: "{}", "token": "new"}) == [token]


@pytest.mark.parametrize("broken", ["x", "[]", "null", '{"a":1}', '{"a":"\\ud800"}', "[" * 99_999])
def test_an_invalid_record_of_the_shown_values_is_refused(broken: str) -> None:
    with pytest.raises(ValueError, match="validation error"):
        drawn_of({DRAWN: broken})


def test_nothing_secret_is_among_what_a_form_says_it_showed() -> None:
    assert not {one.kind for one in FIELDS} & SECRETS


def test_which_changes_conflict() -> None:
    drawn = {DRAWN: json.dumps({"memory_mb": "512", "command": "sh"})}
    typed = {**drawn, "memory_mb": " 700 ", "command": "sh"}
    fields = [MEMORY, COMMAND]
    assert overtaken(fields, typed, {"memory_mb": "512", "command": "bash"}) == []
    assert overtaken(fields, typed, {"memory_mb": "700", "command": "sh"}) == []
    assert overtaken(fields, typed, {"memory_mb": "256", "command": "bash"}) == [MEMORY]


@pytest.mark.parametrize(
    ("one", "present", "words"),
    [
        (MEMORY, "256", "256"),
        (AUTO_DEPLOY, "", "off"),
        (AUTO_DEPLOY, "true", "on"),
        (ON_NEW_PUSH, "wait", "“Waits for the running deployment”"),
        (COMMAND, "sh\n-c", "sh, -c"),
        (COMMAND, "", "empty"),
        (COMMAND, "x" * 300, "x" * 200 + "…"),
    ],
)
def test_what_stands_in_a_field_is_said_in_words(one: Field, present: str, words: str) -> None:
    assert said(one, present) == words
