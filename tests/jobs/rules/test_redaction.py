"""Secrets are masked in every form, wherever they stand."""

import base64
import html
import json
import shlex
from collections.abc import Callable
from urllib.parse import quote, quote_plus

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st
from pydantic import SecretStr

from jobs.rules.redaction import MASK, Redactor
from jobs.rules.secret_values import is_masked

# What tokens and passwords are made of; brackets would meet those of the mask itself.
secrets = st.text(
    st.characters(codec="utf-8", categories=("L", "N", "P", "S"), exclude_characters="[]"),
    min_size=4,
    max_size=60,
).filter(lambda secret: is_masked(secret) and secret.casefold() not in MASK.casefold())
around = st.binary(max_size=12)


def as_go_does(text: str) -> str:
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


FORMS: dict[str, Callable[[str], str]] = {
    "plain": str,
    "quoted": lambda secret: quote(secret, safe=""),
    "quoted as a path": quote,
    "quoted as a form": quote_plus,
    "base64": lambda secret: base64.b64encode(secret.encode()).decode(),
    "base64 for URLs": lambda secret: base64.urlsafe_b64encode(secret.encode()).decode(),
    "JSON": lambda secret: json.dumps(secret)[1:-1],
    "JSON with letters as they are": lambda secret: json.dumps(secret, ensure_ascii=False)[1:-1],
    "JSON as PHP writes it": lambda secret: json.dumps(secret)[1:-1].replace("/", "\\/"),
    "JSON as Go writes it": lambda secret: as_go_does(json.dumps(secret, ensure_ascii=False)[1:-1]),
    "HTML": html.escape,
    "HTML as Go writes it": lambda secret: (
        html.escape(secret).replace("&#x27;", "&#39;").replace("&quot;", "&#34;")
    ),
    "Python": lambda secret: repr(secret)[1:-1],
    "a shell's": shlex.quote,
    "git's credentials": lambda secret: base64.b64encode(
        f"x-access-token:{secret}".encode()
    ).decode(),
}


@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS.keys())
@given(secret=secrets, before=st.text(max_size=9), after=st.text(max_size=9))
@example(secret="000¡", before="\\", after="")  # an octal escape in C, but not in JSON
@example(secret="𐀀000", before="\\", after="")  # "\\" and then the second half of a pair
def test_no_form_of_a_secret_is_left(
    form: Callable[[str], str], secret: str, before: str, after: str
) -> None:
    written = form(secret)
    shown = Redactor([SecretStr(secret)])(f"{before}{written}{after}")
    assert MASK in shown
    assert written not in shown.replace(MASK, "\0")


@given(secret=secrets, before=around, after=around, for_urls=st.booleans())
def test_base64_of_a_longer_text_gives_nothing_away(
    *, secret: str, before: bytes, after: bytes, for_urls: bool
) -> None:
    raw = secret.encode()
    encode = base64.urlsafe_b64encode if for_urls else base64.b64encode
    text = encode(before + raw + after).decode()
    shown = Redactor([SecretStr(secret)])(text)
    # Only the characters that the neighbours have a part in are left: at most three at each end.
    whole = text.rstrip("=")
    first = len(before) * 8 // 6
    last = -(-(len(before) + len(raw)) * 8 // 6)
    inside = whole[first:last]
    assume(len(inside) > 8)
    assert inside not in shown
    assert inside[3:-2] not in shown.replace(MASK, "\0")


@given(secret=secrets)
def test_urls_written_with_small_letters_are_masked_too(secret: str) -> None:
    written = quote(secret, safe="")
    small = "".join(
        part.lower() if number % 2 else part for number, part in enumerate(_split_escapes(written))
    )
    assert small not in Redactor([SecretStr(secret)])(f"https://x:{small}@host/")


def _split_escapes(text: str) -> list[str]:
    parts, rest = [], text
    while "%" in rest:
        plain, _, rest = rest.partition("%")
        parts += [plain, f"%{rest[:2]}"]
        rest = rest[2:]
    return [*parts, rest]


def test_a_secret_of_several_lines_is_masked_line_by_line() -> None:
    redact = Redactor([SecretStr("-----BEGIN KEY-----\nabcdefgh\n  ijklmnop\n-----END KEY-----")])
    assert redact("abcdefgh") == MASK
    assert redact("got ijklmnop there") == f"got {MASK} there"


KEY = (
    "-----BEGIN KEY-----\n"
    + "".join(f"{n:02}{'k' * 60}\n" for n in range(9))
    + "-----END KEY-----\n"
)


@pytest.mark.parametrize(
    "written",
    [
        json.dumps({"key": KEY}),
        json.dumps({"key": KEY.strip()}),
        base64.b64encode(KEY.encode()).decode(),
        base64.encodebytes(KEY.encode()).decode(),
        base64.b64encode(b"key=" + KEY.encode() + b"!").decode(),
        quote(KEY, safe=""),
        repr(KEY),
    ],
    ids=["JSON", "JSON, stripped", "base64", "wrapped base64", "inside base64", "URL", "Python"],
)
def test_a_secret_of_several_lines_that_is_encoded_whole_is_masked(written: str) -> None:
    redact = Redactor([SecretStr(KEY)])
    shown = "".join(redact(line) for line in written.splitlines())
    assert MASK in shown
    assert len(shown.replace(MASK, "")) < 20


def test_a_secret_that_holds_another_leaves_no_tail() -> None:
    redact = Redactor([SecretStr("abcd"), SecretStr("abcdefgh")])
    assert redact("abcdefgh") == MASK


def test_short_values_are_left_alone() -> None:
    assert Redactor([SecretStr("abc"), SecretStr("")])("abc abc") == "abc abc"


@pytest.mark.parametrize("value", ["production", "Production", "true", "postgres", "8080", "12345"])
def test_values_that_every_log_holds_are_left_alone(value: str) -> None:
    written = base64.b64encode(value.encode()).decode()
    log = f"{value} {value.encode().hex()} {written}"
    assert Redactor([SecretStr(value), SecretStr(f"{value}\n")])(log) == log


@pytest.mark.parametrize("value", ["production1", "123456", "a1b2", "correct horse"])
def test_values_that_hold_them_are_masked(value: str) -> None:
    assert Redactor([SecretStr(value)])(f"in {value}!") == f"in {MASK}!"


def test_a_common_line_of_a_secret_does_not_hide_the_log() -> None:
    redact = Redactor([SecretStr("true\nhunter2hunter2")])
    assert redact("true: hunter2hunter2") == f"true: {MASK}"


@given(text=st.text())
def test_text_without_secrets_stays_as_it_is(text: str) -> None:
    assert Redactor()(text) == text
    assert Redactor([SecretStr("a-secret-nobody-wrote")])(text) == text
