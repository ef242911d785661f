"""Certificates: kept sealed, replaced, taken away."""

import logging
from datetime import timedelta

import pytest
from pydantic import SecretStr
from sqlmodel import select

from jobs.errors import NotFoundError
from jobs.reads.apps import app_view
from jobs.reads.domains import certificate_views
from jobs.records.certificates import open_certificates, remove_certificate, set_certificate
from jobs.records.domains import note_domain_ports
from jobs.rules.certificates import Bundle
from jobs.storage.models import AuditEvent, Certificate
from jobs.storage.vault import Vault
from tests.certificates import NOW
from tests.jobs.bench import TESTER, Bench

PEM = SecretStr("-----BEGIN PRIVATE KEY----- and so on")


def keep(bench: Bench, domain: str, *, pem: SecretStr = PEM, days: int = 90) -> None:
    """Give a domain a certificate."""
    bundle = Bundle(pem, NOW + timedelta(days=days))
    with bench.writing() as session:
        set_certificate(session, domain, bundle, TESTER, vault=bench.runtime.vault)


def opened(bench: Bench) -> dict[str, SecretStr]:
    with bench.reading() as session:
        return open_certificates(session, bench.runtime.vault)


def test_a_certificate_is_encrypted_and_decrypted(bench: Bench) -> None:
    keep(bench, "a.example")
    assert opened(bench) == {"a.example": PEM}
    with bench.reading() as session:
        row = session.exec(select(Certificate)).one()
        (event,) = session.exec(select(AuditEvent)).all()
    assert b"PRIVATE" not in row.sealed
    assert (event.tag, event.target) == ("certificate.set", "domain:a.example")
    assert "PRIVATE" not in str(event.details)


def test_another_certificate_replaces_the_first(bench: Bench) -> None:
    keep(bench, "a.example")
    keep(bench, "b.example")
    keep(bench, "a.example", pem=SecretStr("newer"), days=300)
    assert opened(bench) == {"a.example": SecretStr("newer"), "b.example": PEM}
    with bench.reading() as session:
        first, _ = certificate_views(session)
    assert abs(first.not_after - (NOW + timedelta(days=300))) < timedelta(seconds=1)


def test_removing_a_certificate_is_on_record(bench: Bench) -> None:
    keep(bench, "a.example")
    with bench.writing() as session:
        remove_certificate(session, "a.example", TESTER)
    assert opened(bench) == {}
    with bench.reading() as session:
        assert session.exec(select(AuditEvent)).all()[-1].tag == "certificate.removed"
    with pytest.raises(NotFoundError, match="certificate list"), bench.writing() as session:
        remove_certificate(session, "a.example", TESTER)


def test_a_certificate_without_its_key_does_not_block_others(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    keep(bench, "a.example")
    foreign = Vault([SecretStr("some other key of somebody's")])
    with bench.writing() as session:
        set_certificate(session, "b.example", Bundle(PEM, NOW), TESTER, vault=foreign)
    with caplog.at_level(logging.ERROR):
        assert opened(bench) == {"a.example": PEM}
    assert "the certificate of b.example cannot be opened" in caplog.text


def test_the_list_shows_the_app_and_the_expiry_of_a_certificate(bench: Bench) -> None:
    bench.app("web", domains=["a.example"])
    keep(bench, "a.example")
    keep(bench, "b.example", days=5)
    keep(bench, "c.example", days=-5)
    with bench.reading() as session:
        a, b, c = certificate_views(session)
    assert (a.domain, a.app, a.problem) == ("a.example", "web", "")
    assert (b.app, b.problem) == (None, f"expires on {NOW + timedelta(days=5):%Y-%m-%d}")
    assert c.problem == f"expired on {NOW - timedelta(days=5):%Y-%m-%d}"


@pytest.mark.parametrize("domain", ["a.example.com", "*.example.com"])
@pytest.mark.parametrize(
    ("ports", "url"),
    [
        ({"http": 80, "https": 443}, "https://a.example.com"),
        ({"http": 80, "https": 8443}, "https://a.example.com:8443"),
        ({"http": 80}, "http://a.example.com"),
    ],
)
def test_an_app_whose_domain_has_one_is_at_https(
    bench: Bench, domain: str, ports: dict[str, int], url: str
) -> None:
    app = bench.app(domains=["a.example.com"])
    keep(bench, domain)
    with bench.writing() as session:
        note_domain_ports(session, ports)
    with bench.reading() as session:
        assert app_view(session, app.name, bench.runtime.settings).url == url
