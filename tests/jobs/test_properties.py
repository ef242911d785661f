"""Whatever comes from outside is read, or refused in the one way that its reader names.

Where a module's own tests say so already (domains, refs, logins, payloads of GitHub, what git and
BuildKit answer), it is not said again here.
"""

import json
from collections.abc import Mapping
from functools import partial
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jobs.adapters.buildkit.patterns import Patterns
from jobs.adapters.buildkit.trace import decode_trace
from jobs.adapters.buildkit.wire import WireError
from jobs.adapters.github.answers import read_answer, token_expiry
from jobs.adapters.github.hooks import CURSOR, is_same_address, next_cursor
from jobs.adapters.secret_references import Surroundings, find_secret
from jobs.errors import BuildError, ConfigurationError
from jobs.rules.app_fields import AppInput
from jobs.rules.apps_file import read_apps
from jobs.rules.certificates import read_bundle
from jobs.rules.mistakes import MOST_MISTAKES, parse_input
from tests.certificates import NOW, Authority, Issued

# As many as say something and take no time.
SOME = settings(max_examples=60, deadline=None)
ODD = st.text(st.characters(), max_size=40)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | ODD,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(ODD, inner, max_size=4),
    max_leaves=10,
)
# What a glob is made of, far more often than anybody would write it.
GLOBS = st.text(st.sampled_from("ab*?/!.[]^-\\ \n#\u202e"), max_size=40)
PATHS = st.lists(st.text(st.sampled_from("ab.*[]\u202e"), min_size=1, max_size=8), min_size=1)
PEM = b"-----BEGIN CERTIFICATE-----\n%s\n-----END CERTIFICATE-----\n"


@SOME
@given(st.sampled_from(sorted(AppInput.model_fields)), VALUES)
def test_no_value_of_any_field_of_an_app_raises_anything_else(name: str, value: object) -> None:
    told: tuple[str, ...] = ()
    try:
        parse_input(AppInput, {"name": "web", "repository": "octo/web", name: value})
    except ConfigurationError as exc:
        told = exc.problems
    assert all(sentence.startswith(name) and len(sentence) < 500 for sentence in told)
    "".join(told).encode()


@SOME
@given(st.dictionaries(ODD, VALUES, max_size=5))
def test_fields_that_nobody_knows_are_told_in_words_that_can_be_sent(
    data: dict[str, object],
) -> None:
    with pytest.raises(ConfigurationError) as refused:
        parse_input(AppInput, data)
    str(refused.value).encode()


def test_a_flood_of_mistakes_is_told_shortly() -> None:
    data = {f"{n}{'x' * 1000}": n for n in range(1000)}
    with pytest.raises(ConfigurationError) as refused:
        parse_input(AppInput, data)
    assert len(refused.value.problems) == MOST_MISTAKES + 1
    assert refused.value.problems[-1].endswith("mistakes more")
    assert len(str(refused.value)) < 50_000


@SOME
@given(st.lists(GLOBS, max_size=5), PATHS)
def test_any_dockerignore_file_is_understood_or_refused(lines: list[str], path: list[str]) -> None:
    try:
        patterns = Patterns(lines)
    except BuildError:
        return
    assert patterns.fitting({"/".join(path)}) <= {"/".join(path)}


@SOME
@given(st.binary(max_size=200))
def test_any_bytes_of_a_builder_are_progress_or_a_wire_error(raw: bytes) -> None:
    try:
        list(decode_trace(raw))
    except WireError:
        return


@SOME
@given(st.binary(max_size=300), st.binary(max_size=100), st.sampled_from(["a.example", "*.b.c"]))
def test_any_bytes_are_refused_as_a_certificate(raw: bytes, key: bytes, domain: str) -> None:
    for certificate in (raw, PEM % raw):
        with pytest.raises(ConfigurationError):
            read_bundle(domain, certificate=certificate, key=key, at=NOW)


@pytest.fixture(scope="module")
def issued() -> Issued:
    """A good certificate, to be damaged."""
    return Authority().issue("app.example.com")


@SOME
@given(data=st.data())
def test_a_damaged_certificate_is_refused_or_still_itself(
    issued: Issued, data: st.DataObject
) -> None:
    place = data.draw(st.integers(0, len(issued.certificate) - 1))
    damaged = bytearray(issued.certificate)
    damaged[place] = data.draw(st.integers(0, 255))
    told = ""
    try:
        read_bundle("app.example.com", certificate=bytes(damaged), key=issued.key, at=NOW)
    except ConfigurationError as exc:
        told = str(exc)
    assert issued.key.decode() not in told


@SOME
@given(ODD | VALUES.map(repr))
def test_any_file_of_apps_is_read_or_refused(text: str) -> None:
    around = Surroundings({}, Path("/nowhere"))
    for written in (text, f"[apps.web]\n{text}", f"[apps.{text}]", f"[apps.web]\nbranch = {text}"):
        try:
            read_apps(written, partial(find_secret, around))
        except ConfigurationError:
            continue


@SOME
@given(
    st.integers(100, 599),
    st.dictionaries(
        st.sampled_from(["github-authentication-token-expiration", "retry-after", "link"]), ODD
    ),
    ODD | VALUES.map(json.dumps),
)
def test_any_answer_of_github_can_be_taken_apart(
    status: int, headers: Mapping[str, str], text: str
) -> None:
    answer = read_answer(status, headers, text)
    assert answer.message.isprintable()
    token_expiry(answer)


@SOME
@given(ODD, ODD)
def test_no_link_of_github_leads_anywhere_but_to_a_cursor(link: str, cursor: str) -> None:
    for header in (link, f'<https://x/?cursor={cursor}>; rel="next"', f'<{link}>; rel="next"'):
        found = next_cursor(header)
        assert found is None or CURSOR.fullmatch(found)
    assert is_same_address(link, cursor) in {True, False}
