"""Sealed secrets: the ring of keys, its rotation, and the key that is made once."""

import multiprocessing
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr

from jobs.errors import ConfigurationError
from jobs.storage.vault import Vault, ensure_key

OLD, NEW = SecretStr("the old key of the vault"), SecretStr("the new key of the vault")


@given(text=st.text())
def test_what_is_sealed_comes_out_again_and_shows_nothing(text: str) -> None:
    vault = Vault([NEW])
    sealed = vault.seal(SecretStr(text))
    assert vault.open(sealed).get_secret_value() == text
    assert len(text) < 4 or text.encode() not in sealed


def test_a_rotated_ring_opens_the_old_and_seals_with_the_new() -> None:
    sealed = Vault([OLD]).seal(SecretStr("token"))
    ring = Vault([NEW, OLD])
    assert ring.open(sealed).get_secret_value() == "token"
    assert Vault([NEW]).open(ring.seal(SecretStr("token"))).get_secret_value() == "token"


def test_another_key_says_what_to_do_and_shows_nothing() -> None:
    sealed = Vault([OLD]).seal(SecretStr("token"))
    with pytest.raises(ConfigurationError, match="give back the old key") as caught:
        Vault([NEW]).open(sealed)
    assert "token" not in str(caught.value)
    assert caught.value.__cause__ is None


@pytest.mark.parametrize("sealed", [b"", b"nonsense", b"\xff" * 100])
def test_what_was_never_sealed_is_refused(sealed: bytes) -> None:
    with pytest.raises(ConfigurationError):
        Vault([NEW]).open(sealed)


@pytest.mark.parametrize("keys", ["short", "the first one is long enough,short"])
def test_short_keys_are_refused_without_being_shown(tmp_path: Path, keys: str) -> None:
    with pytest.raises(ConfigurationError, match="at least 16") as caught:
        Vault.from_settings(SecretStr(keys), tmp_path)
    assert "short" not in str(caught.value)


def test_several_keys_are_separated_by_commas(tmp_path: Path) -> None:
    ring = SecretStr(f"{NEW.get_secret_value()} , {OLD.get_secret_value()}")
    sealed = Vault([OLD]).seal(SecretStr("token"))
    assert Vault.from_settings(ring, tmp_path).open(sealed).get_secret_value() == "token"
    assert not (tmp_path / "secret.key").exists()


class TestTheKeptKey:
    def test_it_is_made_once_and_for_us_alone(self, tmp_path: Path) -> None:
        first = ensure_key(tmp_path / "data")
        assert ensure_key(tmp_path / "data") == first
        assert len(first.get_secret_value()) >= 32
        assert (tmp_path / "data" / "secret.key").stat().st_mode & 0o777 == 0o600
        assert (tmp_path / "data").stat().st_mode & 0o777 == 0o700

    def test_processes_that_start_at_once_get_the_same_one(self, tmp_path: Path) -> None:
        with multiprocessing.get_context("spawn").Pool(4) as pool:
            keys = {key.get_secret_value() for key in pool.map(ensure_key, [tmp_path] * 16)}
        assert len(keys) == 1
        assert [file.name for file in tmp_path.iterdir()] == ["secret.key"]
