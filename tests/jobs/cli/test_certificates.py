"""`keystone certificate`, and domains on the command line."""

from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import pytest

from jobs.processes.runtime import Runtime
from jobs.records.certificates import open_certificates
from jobs.records.domains import note_domain_ports
from jobs.settings import AllSettings
from tests.certificates import NOW, Authority, Issued, key_pem
from tests.jobs.cli.commands import Commands

Inside = Runtime[AllSettings]
DOMAIN = "app.example.com"


@pytest.fixture(scope="module")
def authority() -> Authority:
    return Authority()


@dataclass(frozen=True)
class Files:
    """Where somebody keeps certificates and keys."""

    folder: Path

    def options(self, issued: Issued, *, key: bytes | None = None) -> list[str]:
        """Save both, and give the options that name them."""
        certificate, key_file = self.folder / "full chain.pem", self.folder / "key.pem"
        certificate.write_bytes(issued.certificate)
        key_file.write_bytes(key or issued.key)
        return ["--certificate", str(certificate), "--key", str(key_file)]


@pytest.fixture
def files(tmp_path: Path) -> Files:
    return Files(tmp_path)


def kept(inside: Inside) -> dict[str, str]:
    with inside.database.reading() as session:
        found = open_certificates(session, inside.vault)
    return {domain: pem.get_secret_value() for domain, pem in found.items()}


def test_a_certificate_is_set_listed_and_removed(
    keystone: Commands, inside: Inside, authority: Authority, files: Files
) -> None:
    issued = authority.issue(DOMAIN)
    done = keystone("certificate", "set", "App.Example.COM.", *files.options(issued))
    assert f"{DOMAIN} has a certificate that is valid until " in done.stdout
    assert "PRIVATE" not in done.stdout + done.stderr
    assert issued.certificate.decode() in kept(inside)[DOMAIN]
    (listed,) = keystone("certificate", "list", "--json").json["items"]
    assert (listed["domain"], listed["app"], listed["problem"]) == (DOMAIN, None, "")
    assert DOMAIN in keystone("certificate", "list").stdout
    assert keystone("certificate", "remove", DOMAIN).stdout.endswith("is removed.\n")
    assert kept(inside) == {}
    assert "no certificates yet" in keystone("certificate", "list").stdout


def test_programs_are_told_what_was_changed(
    keystone: Commands, authority: Authority, files: Files
) -> None:
    arguments = ["certificate", "set", DOMAIN, *files.options(authority.issue(DOMAIN)), "--json"]
    made = keystone(*arguments).json
    assert keystone("certificate", "list", "--json").json["items"] == [made]
    assert keystone("certificate", "remove", DOMAIN, "--json").json == {"removed": DOMAIN}


def test_set_says_whether_the_router_serves_the_certificate(
    keystone: Commands, inside: Inside, authority: Authority, files: Files
) -> None:
    arguments = ["certificate", "set", DOMAIN, *files.options(authority.issue(DOMAIN))]
    assert "does not serve HTTPS: `keystone doctor`" in keystone(*arguments).stdout
    with inside.database.writing() as session:
        note_domain_ports(session, {"https": 443})
    assert "within seconds" in keystone(*arguments).stdout


def test_a_certificate_that_expires_soon_is_marked(
    keystone: Commands, authority: Authority, files: Files
) -> None:
    soon = authority.issue("*.example.com", days=5, begins=NOW - timedelta(days=85))
    keystone("certificate", "set", "*.example.com", *files.options(soon))
    assert "expires on" in keystone("certificate", "list").stdout


@pytest.mark.parametrize(
    ("domain", "names", "days", "sentence"),
    [
        ("https://app.example.com", [DOMAIN], 90, "without scheme or port"),
        (DOMAIN, ["other.example"], 90, f"certificate: does not name {DOMAIN}; it names other"),
        (DOMAIN, [DOMAIN], -1, "certificate: expired on "),
    ],
)
def test_an_unusable_certificate_is_refused_with_a_sentence(  # noqa: PLR0913 — what a table has
    keystone: Commands,
    inside: Inside,
    authority: Authority,
    files: Files,
    *,
    domain: str,
    names: list[str],
    days: int,
    sentence: str,
) -> None:
    options = files.options(authority.issue(*names, days=days))
    refused = keystone("certificate", "set", domain, *options, code=2)
    assert sentence in refused.stderr
    assert kept(inside) == {}


def test_a_key_that_does_not_fit_is_refused_without_being_shown(
    keystone: Commands, authority: Authority, files: Files
) -> None:
    issued, other = authority.issue(DOMAIN), authority.issue(DOMAIN)
    refused = keystone("certificate", "set", DOMAIN, *files.options(issued, key=other.key), code=2)
    assert "keystone: key: does not belong to the certificate" in refused.stderr
    assert other.key.decode().splitlines()[1] not in refused.stderr


def test_files_that_cannot_be_read_are_named(
    keystone: Commands, authority: Authority, files: Files
) -> None:
    options = files.options(authority.issue(DOMAIN))
    options[3] = str(files.folder / "missing.pem")
    refused = keystone("certificate", "set", DOMAIN, *options, code=2)
    assert f"key: {options[3]} cannot be read (No such file or directory)" in refused.stderr
    (files.folder / "key.pem").write_bytes(b"x" * 2_000_000)
    options[3] = str(files.folder / "key.pem")
    assert "too long" in keystone("certificate", "set", DOMAIN, *options, code=2).stderr


def test_removing_what_is_not_there_says_so(keystone: Commands) -> None:
    assert "keystone certificate list" in keystone("certificate", "remove", DOMAIN, code=3).stderr


def test_a_locked_key_comes_with_what_to_do(
    keystone: Commands, authority: Authority, files: Files
) -> None:
    issued = authority.issue(DOMAIN, key=(key := Authority()._key))
    options = files.options(issued, key=key_pem(key, b"secret"))
    refused = keystone("certificate", "set", DOMAIN, *options, code=2)
    assert "openssl pkey -in KEY -out OPEN_KEY" in refused.stderr


def test_an_app_is_given_domains_and_loses_them(keystone: Commands) -> None:
    domains = ["--domains", "App.example.com", "--domains", "bücher.example"]
    keystone("app", "add", "web", "--repository", "octo/web", *domains)
    shown = keystone("app", "show", "web", "--json").json
    assert shown["domains"] == ["app.example.com", "xn--bcher-kva.example"]
    taken = keystone("app", "add", "shop", "--repository", "octo/shop", *domains[:2], code=4)
    assert "domains: app.example.com belongs to web already" in taken.stderr
    refused = keystone("app", "set", "web", "--domains", "http://x.example/", code=2)
    assert "domains.0: give the host name alone" in refused.stderr
    keystone("app", "set", "web", "--domains", "")
    assert keystone("app", "show", "web", "--json").json["domains"] == []
