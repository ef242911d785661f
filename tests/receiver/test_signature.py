"""Signatures: GitHub's own test vector, and everything that is not one."""

import hashlib
import hmac

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr

from receiver.signature import is_well_formed, sign, signers

SECRET = SecretStr("It's a Secret to Everybody")
BODY = b"Hello, World!"
OFFICIAL = "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17"
LEGACY = "sha1=01dc10d0c83e72ed246219cdd91669667fe2ca59"


def test_githubs_own_test_vector_is_reproduced() -> None:
    assert sign(BODY, SECRET) == OFFICIAL


def test_the_owner_of_the_right_secret_is_found_among_others() -> None:
    ring = {1: [SecretStr("another")], 2: [SecretStr("an old one"), SECRET], 3: []}
    assert signers(BODY, OFFICIAL, ring) == {2}


def test_two_owners_of_one_secret_have_both_signed() -> None:
    assert signers(BODY, OFFICIAL, {1: [SECRET], 2: [SECRET]}) == {1, 2}


@pytest.mark.parametrize(
    "header",
    [
        "",
        LEGACY,
        OFFICIAL.upper(),
        OFFICIAL.removeprefix("sha256="),
        OFFICIAL + "\n",
        f" {OFFICIAL}",
        OFFICIAL[:-1],
        OFFICIAL[:-1] + "8",
        "sha256=" + "é" * 64,
        f"{OFFICIAL},{OFFICIAL}",
    ],
)
def test_what_is_not_exactly_the_signature_verifies_nothing(header: str) -> None:
    assert signers(BODY, header, {1: [SECRET]}) == frozenset()


def test_an_empty_secret_never_verifies() -> None:
    forged = "sha256=" + hmac.new(b"", BODY, hashlib.sha256).hexdigest()
    assert is_well_formed(forged)
    assert signers(BODY, forged, {1: [SecretStr("")]}) == frozenset()


@given(st.binary(max_size=200), st.text(min_size=1, max_size=80))
def test_what_is_signed_verifies_and_what_is_changed_does_not(body: bytes, secret: str) -> None:
    ring = {1: [SecretStr(secret)]}
    assert signers(body, sign(body, SecretStr(secret)), ring) == {1}
    assert signers(body + b"!", sign(body, SecretStr(secret)), ring) == frozenset()
    assert signers(body, sign(body, SecretStr(secret + "!")), ring) == frozenset()


@given(st.text(max_size=100))
def test_no_header_can_raise(header: str) -> None:
    assert signers(BODY, header, {1: [SECRET]}) == frozenset()
