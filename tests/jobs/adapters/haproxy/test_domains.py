"""The router's configuration for domains as text, and its answers read back."""

from pydantic import SecretStr

from jobs.adapters.haproxy.domains import (
    certificate_file,
    domain_files,
    map_changes,
    read_certificates,
    read_map,
)

PEM = SecretStr("pem")


def test_the_files_hold_every_domain_and_certificate() -> None:
    files = domain_files({"a.example": 20000}, {"*.b.example": PEM}, SecretStr("nobody's"))
    name = certificate_file("*.b.example", PEM)
    assert {name: text.get_secret_value() for name, text in files.items()} == {
        "moved.map": "",
        "hosts.map": "a.example 20000\n",
        "certified.map": "*.b.example yes\n",
        "certificates.list": (f"certificates/default.pem nobody.invalid\n{name} *.b.example\n"),
        "certificates/default.pem": "nobody's",
        name: "pem",
    }


def test_a_file_is_named_after_the_domain_and_the_content() -> None:
    names = {
        certificate_file(domain, SecretStr(pem))
        for domain in ("a.example", "b.example")
        for pem in ("one", "two")
    }
    assert len(names) == 4
    assert certificate_file("a.example", PEM) == certificate_file("a.example", SecretStr("pem"))


def test_a_map_is_changed_by_what_differs() -> None:
    found = {"gone.example": "1", "moved.example": "1", "same.example": "1"}
    wanted = {"moved.example": "2", "new.example": "2", "same.example": "1"}
    assert list(map_changes("hosts.map", found, wanted)) == [
        [
            "del map hosts.map gone.example",
            "set map hosts.map moved.example 2",
            "add map hosts.map new.example 2",
        ]
    ]
    assert list(map_changes("hosts.map", wanted, wanted)) == []


def test_many_changes_never_overfill_a_line() -> None:
    names = [f"{n:03}.{'l' * 60}.{'l' * 60}.{'l' * 60}.{'l' * 60}" for n in range(120)]
    lines = list(map_changes("hosts.map", {}, dict.fromkeys(names, "20000")))
    assert [len(commands) for commands in lines] == [50, 50, 20]
    assert max(len(";".join(commands)) for commands in lines) < 32 * 1024 - 1024


def test_a_map_that_is_not_there_is_told_from_an_empty_one() -> None:
    known = "# id (file) description\n0 (hosts.map) pattern loaded from file 'hosts.map'\n\n"
    assert read_map("hosts.map", f"{known}0x55d1 a.example 20000\n\n") == {"a.example": "20000"}
    assert read_map("hosts.map", f"{known}\n") == {}
    assert read_map("hosts.map", "# id (file) description\n\nUnknown map identifier.\n") is None


def test_the_list_of_certificates_is_read() -> None:
    answer = (
        "# transaction\n*certificates/c.pem\n# filename\ncertificates/a.pem\ncertificates/c.pem\n"
        "certificates/default.pem\n\n# certificates.list\n"
        "certificates/default.pem nobody.invalid\ncertificates/a.pem a.example\n\n"
    )
    loaded = read_certificates(answer)
    assert loaded is not None
    assert loaded.listed == {"certificates/a.pem": "a.example"}
    assert loaded.files == {"certificates/a.pem", "certificates/c.pem"}
    assert loaded.unfinished == "certificates/c.pem"
    assert read_certificates("# filename\n\ndidn't find the specified filename\n") is None
