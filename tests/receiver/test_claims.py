"""What an unverified body says of itself, whoever has written it."""

import json
import time
from urllib.parse import urlencode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from receiver.claims import FORM, LONGEST_LOOK, MOST_NAMES, Claim, claim_of
from tests.builders import payload

JSON = "application/json"
OCTO_WEB = Claim(("octo/web",), 186853002)
LONGEST_S = 5.0  # many times what it takes, on a busy machine


@pytest.mark.parametrize("name", ["push", "push_tag", "push_forced", "ping", "issues"])
def test_github_s_payloads_name_their_repository(name: str) -> None:
    data = payload(name)
    for body in (json.dumps(data), json.dumps(data, indent=2), json.dumps(data, indent="\t")):
        assert claim_of(JSON, body.encode()) == OCTO_WEB
        assert claim_of(f"{FORM}; charset=x", urlencode({"payload": body}).encode()) == OCTO_WEB


def test_a_slash_may_be_escaped() -> None:
    body = json.dumps(payload("push")).replace("octo/web", "octo\\/web")
    assert claim_of(JSON, body.encode()) == OCTO_WEB


def test_the_repository_comes_before_whatever_else_has_a_name() -> None:
    fork = {"head": {"repo": {"full_name": "eve/web"}}}
    body = json.dumps({"pull_request": fork, "repository": {"id": 7, "full_name": "octo/web"}})
    assert claim_of(JSON, body.encode()) == Claim(("octo/web", "eve/web"), 7)


def test_an_organization_names_none() -> None:
    assert claim_of(JSON, json.dumps(payload("ping_organization")).encode()) == Claim()


@pytest.mark.parametrize(
    "name",
    ["octo", "octo/", "/web", "octo/web/x", "octo/w b", "octo/<b>", "öcto/web", "a" * 101 + "/b"],
)
def test_what_is_no_name_of_github_s_is_not_told(name: str) -> None:
    body = json.dumps({"repository": {"full_name": name}}, ensure_ascii=False).encode()
    assert claim_of(JSON, body).names == ()


def test_what_stands_behind_the_beginning_is_not_looked_at() -> None:
    body = b" " * LONGEST_LOOK + json.dumps(payload("push")).encode()
    assert claim_of(JSON, body) == Claim()


def test_names_are_few_however_many_are_claimed() -> None:
    many = ",".join(f'{{"full_name":"octo/{number}"}}' for number in range(100_000))
    assert len(claim_of(JSON, many.encode()).names) == MOST_NAMES


@pytest.mark.parametrize(
    "piece",
    [
        b'"full_name"',
        b'"full_name":"',
        b'"full_name":"a/',
        b'"repository":{',
        b" ",
        b"%22",
        b'"id":1',
    ],
)
@pytest.mark.parametrize("content_type", [JSON, FORM])
def test_no_body_takes_long(piece: bytes, content_type: str) -> None:
    body = piece * (25 * 1024 * 1024 // len(piece))
    began = time.process_time()
    claim_of(content_type, body)
    assert time.process_time() - began < LONGEST_S


@given(body=st.binary(max_size=300), content_type=st.sampled_from([JSON, FORM, ""]))
def test_whatever_is_sent_gives_a_claim(body: bytes, content_type: str) -> None:
    claim = claim_of(content_type, body)
    assert all(name.isascii() and name.count("/") == 1 for name in claim.names)
