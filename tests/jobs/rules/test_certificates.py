"""What a certificate must be before the router is given it."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
)

from jobs.errors import ConfigurationError
from jobs.rules.certificates import Bundle, default_bundle, expiry_problem, is_loadable, read_bundle
from tests.certificates import NOW, Authority, Issued, key_pem

DOMAIN = "app.example.com"


@pytest.fixture(scope="module")
def authority() -> Authority:
    return Authority()


def read(issued: Issued, domain: str = DOMAIN, *, key: bytes | None = None) -> Bundle:
    return read_bundle(domain, certificate=issued.certificate, key=key or issued.key, at=NOW)


@pytest.mark.parametrize("kind", [ec.SECP256R1(), ec.SECP384R1(), None])
def test_a_good_one_is_taken_with_its_chain(
    authority: Authority, tmp_path: Path, kind: ec.EllipticCurve | None
) -> None:
    key = ec.generate_private_key(kind) if kind else rsa.generate_private_key(65537, 2048)
    issued = authority.issue(DOMAIN, key=key)
    whole = Issued(b"a word before\n\n" + issued.certificate + authority.certificate, issued.key)
    bundle = read(whole)
    text = bundle.pem.get_secret_value()
    assert text.count("BEGIN CERTIFICATE") == 2
    assert text.startswith("-----BEGIN PRIVATE KEY-----")
    assert "\n\n" not in text
    assert "a word" not in text
    assert abs(bundle.not_after - (NOW + timedelta(days=90))) < timedelta(seconds=1)
    (tmp_path / "it.pem").write_text(text)
    assert is_loadable(tmp_path / "it.pem")


@pytest.mark.parametrize(
    ("names", "domain"),
    [
        (["APP.example.com"], DOMAIN),
        (["*.example.com"], DOMAIN),
        (["other.example", "*.example.com"], "*.example.com"),
        (["xn--bcher-kva.example"], "xn--bcher-kva.example"),
    ],
)
def test_a_certificate_may_name_the_domain_in_several_ways(
    authority: Authority, names: list[str], domain: str
) -> None:
    assert read(authority.issue(*names), domain).not_after > NOW


@pytest.mark.parametrize(
    ("names", "domain"),
    [
        (["other.example.com"], DOMAIN),
        (["*.example.com"], "example.com"),
        (["*.com"], DOMAIN),
        ([DOMAIN], "*.example.com"),
    ],
)
def test_a_certificate_for_another_domain_is_refused(
    authority: Authority, names: list[str], domain: str
) -> None:
    with pytest.raises(ConfigurationError) as refused:
        read(authority.issue(*names), domain)
    assert f"certificate: does not name {domain}" in str(refused.value)


def test_everything_that_is_wrong_is_told_at_once(authority: Authority) -> None:
    old = authority.issue("other.example.com", days=-3)
    with pytest.raises(ConfigurationError) as refused:
        read(old, key=authority.issue(DOMAIN).key)
    key, name, date = refused.value.problems
    assert key.startswith("key: does not belong to the certificate")
    assert name == f"certificate: does not name {DOMAIN}; it names other.example.com"
    assert date == f"certificate: expired on {NOW - timedelta(days=3):%Y-%m-%d}"


def test_a_certificate_that_is_not_valid_yet_is_refused(authority: Authority) -> None:
    issued = authority.issue(DOMAIN)
    early = NOW - timedelta(days=5)
    with pytest.raises(ConfigurationError, match="is valid only from"):
        read_bundle(DOMAIN, certificate=issued.certificate, key=issued.key, at=early)


def test_a_chain_in_the_wrong_order_is_refused(authority: Authority) -> None:
    issued = authority.issue(DOMAIN)
    others = Authority().certificate
    with pytest.raises(ConfigurationError, match="signed by the one that follows"):
        read(Issued(issued.certificate + others, issued.key))


def test_a_chain_that_the_router_could_not_be_told_is_refused(authority: Authority) -> None:
    issued = authority.issue(DOMAIN)
    long = Issued(issued.certificate + authority.certificate * 60, issued.key)
    with pytest.raises(ConfigurationError, match="is too long"):
        read(long)


@pytest.mark.parametrize(
    ("key", "sentence"),
    [
        (b"", "key: holds no private key in PEM"),
        (b"\xff\x00", "key: holds no private key in PEM"),
        (key_pem(ec.generate_private_key(ec.SECP256R1()), b"secret"), "openssl pkey"),
        (key_pem(rsa.generate_private_key(65537, 1024)), "browsers refuse"),  # noqa: S505
        (key_pem(ec.generate_private_key(ec.SECP224R1())), "kind that browsers refuse"),
        (
            ed25519.Ed25519PrivateKey.generate().private_bytes(
                Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()
            ),
            "kind that browsers refuse",
        ),
    ],
)
def test_a_key_that_will_not_do_is_refused(authority: Authority, key: bytes, sentence: str) -> None:
    issued = authority.issue(DOMAIN)
    with pytest.raises(ConfigurationError, match=sentence):
        read_bundle(DOMAIN, certificate=issued.certificate, key=key, at=NOW)


@pytest.mark.parametrize("certificate", [b"", b"no PEM", b"\xff", b"-----BEGIN CERTIFICATE-----\n"])
def test_a_file_without_a_certificate_is_refused(certificate: bytes) -> None:
    with pytest.raises(ConfigurationError, match="certificate: holds no certificate in PEM"):
        read_bundle(DOMAIN, certificate=certificate, key=b"", at=NOW)


def test_the_key_is_shown_to_nobody(authority: Authority) -> None:
    issued = authority.issue(DOMAIN)
    secret = issued.key.decode().splitlines()[1]
    assert secret not in repr(read(issued))
    with pytest.raises(ConfigurationError) as refused:
        read(issued, "other.example")
    assert secret not in str(refused.value)


def test_what_openssl_cannot_read_is_not_loadable(tmp_path: Path) -> None:
    (tmp_path / "rubbish.pem").write_text("rubbish")
    assert not is_loadable(tmp_path / "rubbish.pem")
    assert not is_loadable(tmp_path / "missing.pem")
    (tmp_path / "default.pem").write_text(default_bundle(NOW).get_secret_value())
    assert is_loadable(tmp_path / "default.pem")


@pytest.mark.parametrize(
    ("lifetime", "days", "told"),
    [
        (6, 3, ""),
        (6, 1, "expires on 2026-06-02"),
        (45, 16, ""),
        (45, 14, "expires on 2026-06-15"),
        (90, 31, ""),
        (90, 29, "expires on 2026-06-30"),
        (397, 31, ""),
        (397, 29, "expires on 2026-06-30"),
        (None, 31, ""),
        (None, 29, "expires on 2026-06-30"),
        (90, -1, "expired on 2026-05-31"),
        (None, -1, "expired on 2026-05-31"),
    ],
)
def test_an_end_that_is_near_is_told_by_the_lifetime(
    lifetime: int | None, days: int, told: str
) -> None:
    at = datetime(2026, 6, 1, 12, tzinfo=UTC)
    end = at + timedelta(days=days)
    begin = None if lifetime is None else end - timedelta(days=lifetime)
    assert expiry_problem(end, at, not_before=begin) == told
