"""What a delivery claims is found in raw bytes, whatever a pusher or a stranger has written."""

import json
import time
from typing import Any
from urllib.parse import quote, urlencode

import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.datastructures import Headers

from jobs.rules.push_payload import FULL_NAME
from receiver.claims import (
    MOST_KEYS,
    NOBODY,
    PIECE,
    TARGET_ID,
    TARGET_TYPE,
    WINDOW,
    Claim,
    find_claim,
)
from tests.builders import PAYLOADS, payload

OCTO_WEB = Claim(186853002, "octo/web")
NONE = Headers()
MIB = 1024 * 1024
# All that somebody who may push can have written into a delivery: text, never a key.
Text = st.one_of(
    st.text(max_size=60),
    st.sampled_from(
        [
            "repository",
            '"repository":{"id":1,"full_name":"evil/one"',
            '\\"repository\\":{\\"id\\":2,\\"full_name\\":\\"evil/two\\"',
            "%22repository%22%3A%7B%22id%22%3A3%2C%22full_name%22%3A%22evil%2Fthree%22",
            '","repository":{"id":4}',
        ]
    ),
)


def json_body(data: object) -> bytes:
    return json.dumps(data, separators=(",", ":")).encode()


def form_body(data: object) -> bytes:
    return urlencode({"payload": json.dumps(data, separators=(",", ":"))}).encode()


def pushed(text: str, paths: list[str], *, is_last: bool = False) -> dict[str, Any]:
    """Give a push with a pusher's own words in it; the repository may come after them."""
    data = payload("push", head_commit__message=text, commits=[{"message": text, "added": paths}])
    if is_last:
        data["repository"] = data.pop("repository")
    return data


# --- What GitHub sends -----------------------------------------------------------------------


@pytest.mark.parametrize("name", sorted(path.stem for path in PAYLOADS.glob("*.json")))
@pytest.mark.parametrize("is_form", [False, True])
def test_every_recorded_payload_claims_its_repository(*, name: str, is_form: bool) -> None:
    data = payload(name)
    told = data.get("repository")
    expected = Claim(told["id"], told["full_name"]) if told else NOBODY
    body = form_body(data) if is_form else json_body(data)
    assert find_claim(body, NONE, is_form=is_form) == expected


@given(text=Text, paths=st.lists(Text, max_size=4), is_last=st.booleans(), is_ascii=st.booleans())
def test_no_pushers_words_change_the_claim(
    *, text: str, paths: list[str], is_last: bool, is_ascii: bool
) -> None:
    data = pushed(text, paths, is_last=is_last)
    plain = json.dumps(data, ensure_ascii=is_ascii)
    body = plain.encode(errors="replace")
    form = urlencode({"payload": plain}, errors="replace").encode()
    assert find_claim(body, NONE, is_form=False) == OCTO_WEB
    assert find_claim(form, NONE, is_form=True) == OCTO_WEB


def test_a_repository_of_many_files_of_that_name_is_found_behind_them() -> None:
    data = pushed("", ["repository"] * 400_000, is_last=True)
    assert find_claim(json_body(data), NONE, is_form=False) == OCTO_WEB
    assert find_claim(form_body(data), NONE, is_form=True) == OCTO_WEB


@pytest.mark.parametrize("before", range(PIECE - 40, PIECE + 3, 3))
def test_a_key_where_two_pieces_meet_is_found(before: int) -> None:
    body = b" " * before + json_body({"repository": {"id": 7, "full_name": "octo/web"}})
    assert find_claim(body, NONE, is_form=False) == Claim(7, "octo/web")


# --- Other spellings of the same -------------------------------------------------------------


@pytest.mark.parametrize(
    "body",
    [
        b'{"repository" :\r\n\t{ "id" : 7 , "full_name" : "octo/web" }}',
        b'{"repository":{"full_name":"octo\\/web","id":7}}',
        b'{"repository":{"full_name":"\\u006fcto/web","owner":{"login":"octo"},"id":7}}',
        b'{"template_repository":{"id":1},"repository":{"id":7,"full_name":"octo/web"}}',
        b'{"repository":{},"x":1,"repository":{"id":7,"full_name":"octo/web"}}',
    ],
)
def test_json_may_be_written_in_several_ways(body: bytes) -> None:
    assert find_claim(body, NONE, is_form=False) == Claim(7, "octo/web")


@pytest.mark.parametrize("safe", ["", '"', ':{},"', '":{},/'])
@pytest.mark.parametrize("spaced", [False, True])
def test_a_form_may_leave_characters_as_they_are(*, safe: str, spaced: bool) -> None:
    separators = (", ", ": ") if spaced else (",", ":")
    data = {"template_repository": {"id": 1}, "repository": {"id": 7, "full_name": "octo/web"}}
    text = json.dumps(data, separators=separators)
    body = f"payload={quote(text, safe=safe)}".encode()
    assert find_claim(body, NONE, is_form=True) == Claim(7, "octo/web")
    assert find_claim(body.replace(b"%20", b"+"), NONE, is_form=True) == Claim(7, "octo/web")
    assert find_claim(body.replace(b"%3A", b"%3a"), NONE, is_form=True) == Claim(7, "octo/web")


# --- What the headers say --------------------------------------------------------------------


def test_the_target_of_a_repositorys_hook_says_what_the_body_does_not() -> None:
    headers = Headers({TARGET_TYPE: "repository", TARGET_ID: "7"})
    assert find_claim(b"{}", headers, is_form=False) == Claim(7)
    named = b'{"repository":{"full_name":"octo/web"}}'
    assert find_claim(named, headers, is_form=False) == Claim(7, "octo/web")
    assert find_claim(json_body(payload("push")), headers, is_form=False) == OCTO_WEB


@pytest.mark.parametrize(
    ("kind", "target"),
    [
        ("organization", "7"),
        ("repository", ""),
        ("repository", "-7"),
        ("repository", "7" * 40),
        ("repository", "9" * 19),
        ("repository", "\N{ARABIC-INDIC DIGIT SEVEN}"),
    ],
)
def test_any_other_target_says_nothing(kind: str, target: str) -> None:
    headers = {TARGET_TYPE: kind, TARGET_ID: target}
    assert find_claim(b"{}", headers, is_form=False) == NOBODY


# --- What strangers send ---------------------------------------------------------------------


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"\xff\xfe\x00",
        b'{"repository":{',
        b'{"repository":{"id":0,"full_name":""}}',
        b'{"repository":{"id":1.5,"full_name":"a/b/c"}}',
        b'{"repository":{"id":1e9,"full_name":"a b/c"}}',
        b'{"repository":{"id":9999999999999999999,"full_name":"\xd8/x"}}',
        b'{"repository":{"full_name":"\\ud800/x"}}',
        b'{"repository":{"full_name":"' + b"a" * 5000 + b'/b"}}',
        b'{"\\u0072epository":{"id":7}}',
        b'{"repository":{"x":"' + b" " * WINDOW + b'","id":7}}',
        (b'{"repository":{}}' + b" " * WINDOW) * MOST_KEYS + b'{"repository":{"id":7}}',
    ],
)
def test_what_names_nobody_claims_nothing(body: bytes) -> None:
    assert find_claim(body, NONE, is_form=False) == NOBODY


@given(body=st.binary(max_size=300), is_form=st.booleans())
def test_nothing_raises_and_names_are_clean(*, body: bytes, is_form: bool) -> None:
    for ends in (b"", b'"repository":{"full_name":', b"%22repository%22%3A%7B%22id%22%3A"):
        claim = find_claim(ends + body, NONE, is_form=is_form)
        assert len(claim.full_name) <= 200
        assert claim.full_name.isascii()
        assert claim.full_name.isprintable()


@pytest.mark.parametrize(
    "piece",
    [
        b" ",
        b'"',
        b'"repository"',
        b'"repository"         ',
        b'"repository":{',
        b'"repository":{"full_name":"',
        b'"full_name":"x/y",',
        b"repository%22",
        b"repository%22%3A%7B",
        b"repository%22+++++++++",
        b"%5C%5C",
        b"\\",
    ],
)
@pytest.mark.parametrize("is_form", [False, True])
def test_the_largest_body_costs_a_fraction_of_hashing_it_for_everybody(
    *, piece: bytes, is_form: bool
) -> None:
    body = piece * (25 * MIB // len(piece))
    spent = time.process_time()
    assert find_claim(body, NONE, is_form=is_form) == NOBODY
    # Some 0.05 s; whatever is not linear takes minutes.
    assert time.process_time() - spent < 5


def test_the_names_are_those_that_a_payload_may_have() -> None:
    assert FULL_NAME in repr(find_claim.__globals__["_FULL_NAME"])
