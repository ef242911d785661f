"""/api/certificates: given, listed, taken away; no key comes back."""

from datetime import datetime, timedelta
from urllib.parse import quote

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from httpx2 import Response
from starlette.testclient import TestClient

from jobs.records.certificates import open_certificates
from tests.builders import WebRuntime, make_app
from tests.certificates import NOW, Authority, Issued, key_pem

DOMAIN = "app.example.com"
CERTIFICATES = "/api/certificates"


@pytest.fixture(scope="module")
def authority() -> Authority:
    return Authority()


@pytest.fixture(scope="module")
def issued(authority: Authority) -> Issued:
    return authority.issue(DOMAIN)


def put(admin: TestClient, issued: Issued, domain: str = DOMAIN, **fields: str) -> Response:
    body = {"certificate": issued.certificate.decode(), "key": issued.key.decode(), **fields}
    return admin.put(f"{CERTIFICATES}/{domain}", json=body)


def kept(runtime: WebRuntime) -> dict[str, str]:
    with runtime.database.reading() as session:
        found = open_certificates(session, runtime.vault)
    return {domain: pem.get_secret_value() for domain, pem in found.items()}


def items(client: TestClient) -> list[dict[str, object]]:
    found: list[dict[str, object]] = client.get(CERTIFICATES).json()["items"]
    return found


def secret_part(issued: Issued) -> str:
    """Give a line of the key that nothing else holds."""
    return issued.key.decode().splitlines()[1]


def test_a_certificate_is_listed_with_the_app_of_its_domain(
    admin: TestClient, viewer: TestClient, runtime: WebRuntime, issued: Issued
) -> None:
    make_app(runtime, domains=[DOMAIN])
    answer = put(admin, issued)
    assert answer.status_code == 200
    told = answer.json()
    assert (told["domain"], told["app"], told["problem"]) == (DOMAIN, "web", "")
    until = datetime.fromisoformat(told["not_after"])
    assert abs(until - (NOW + timedelta(days=90))) < timedelta(seconds=1)
    assert items(viewer) == [told]
    assert issued.certificate.decode() in kept(runtime)[DOMAIN]


def test_no_answer_holds_the_key(admin: TestClient, issued: Issued) -> None:
    answers = [put(admin, issued), admin.get(CERTIFICATES), admin.get("/api/audit")]
    answers += [admin.delete(f"{CERTIFICATES}/{DOMAIN}"), admin.get("/api/audit")]
    for answer in answers:
        assert "PRIVATE" not in answer.text
        assert secret_part(issued) not in answer.text


@pytest.mark.parametrize(
    ("written", "domain"),
    [
        ("App.Example.COM", "app.example.com"),
        ("app.example.com.", "app.example.com"),
        (quote("bücher.example"), "xn--bcher-kva.example"),
        ("*.example.com", "*.example.com"),
    ],
)
def test_a_domain_may_be_written_in_several_ways(
    admin: TestClient, authority: Authority, written: str, domain: str
) -> None:
    assert put(admin, authority.issue(domain), written).json()["domain"] == domain
    assert [item["domain"] for item in items(admin)] == [domain]
    assert admin.delete(f"{CERTIFICATES}/{written}").status_code == 204
    assert items(admin) == []


def test_another_certificate_replaces_the_first(
    admin: TestClient, runtime: WebRuntime, authority: Authority, issued: Issued
) -> None:
    put(admin, issued)
    newer = authority.issue(DOMAIN, days=300)
    assert put(admin, newer).status_code == 200
    assert list(kept(runtime)) == [DOMAIN]
    assert newer.certificate.decode() in kept(runtime)[DOMAIN]


def test_a_certificate_that_expires_soon_is_accepted_and_marked(
    admin: TestClient, authority: Authority
) -> None:
    fresh = authority.issue(DOMAIN, days=5)
    assert put(admin, fresh).json()["problem"] == ""
    soon = authority.issue(DOMAIN, days=5, begins=NOW - timedelta(days=85))
    assert put(admin, soon).json()["problem"].startswith("expires on")


@pytest.mark.parametrize(
    ("what", "sentence"),
    [
        ("another domain's", f"certificate: does not name {DOMAIN}"),
        ("another key", "key: "),
        ("a locked key", "key: "),
        ("no certificate", "certificate: "),
        ("over", "certificate: "),
    ],
)
def test_what_a_browser_would_refuse_is_400_and_nothing_is_kept(
    admin: TestClient, runtime: WebRuntime, authority: Authority, what: str, sentence: str
) -> None:
    answer = put(admin, *mistakes(authority)[what])
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "invalid")
    assert sentence in answer.json()["error"]["message"]
    assert kept(runtime) == {}


def mistakes(authority: Authority) -> dict[str, tuple[Issued]]:
    good, other = authority.issue(DOMAIN), authority.issue("other.example")
    return {
        "another domain's": (other,),
        "another key": (Issued(good.certificate, other.key),),
        "a locked key": (Issued(good.certificate, locked_key()),),
        "no certificate": (Issued(b"-----BEGIN NONSENSE-----", good.key),),
        "over": (authority.issue(DOMAIN, days=-1),),
    }


def locked_key() -> bytes:
    return key_pem(ec.generate_private_key(ec.SECP256R1()), b"a passphrase")


@pytest.mark.parametrize("field", ["certificate", "key"])
def test_more_than_any_certificate_needs_is_refused_unquoted(
    admin: TestClient, issued: Issued, field: str
) -> None:
    answer = put(admin, issued, **{field: "hunter2" * 50_000})
    assert answer.status_code == 400
    assert answer.json()["error"]["message"].startswith(f"{field}: ")
    assert "hunter2" not in answer.text


@pytest.mark.parametrize("domain", ["localhost", "10.0.0.1", "a_b.example", "x" * 64 + ".example"])
def test_what_is_no_domain_is_404(admin: TestClient, issued: Issued, domain: str) -> None:
    answer = put(admin, issued, domain)
    assert (answer.status_code, answer.json()["error"]["code"]) == (404, "not_found")


def test_a_missing_certificate_cannot_be_removed(admin: TestClient) -> None:
    answer = admin.delete(f"{CERTIFICATES}/{DOMAIN}")
    assert (answer.status_code, answer.json()["error"]["code"]) == (404, "not_found")


def test_setting_and_removing_a_certificate_is_on_record(admin: TestClient, issued: Issued) -> None:
    put(admin, issued)
    admin.delete(f"{CERTIFICATES}/{DOMAIN}")
    events = admin.get("/api/audit").json()["items"][:2]
    assert [(event["tag"], event["actor"], event["target"]) for event in events] == [
        ("certificate.removed", "token:the-admin", f"domain:{DOMAIN}"),
        ("certificate.set", "token:the-admin", f"domain:{DOMAIN}"),
    ]
