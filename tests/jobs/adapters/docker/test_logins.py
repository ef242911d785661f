"""The registry logins in the docker command line's configuration, whatever is in that file."""

import base64
import json
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobs.adapters.docker.builds import read_logins
from jobs.adapters.docker.logins import (
    HELPED,
    LARGEST_CONFIG,
    TOKEN,
    Entry,
    config_path,
    parse_logins,
)
from jobs.errors import ConfigurationError

# A user's name has no colon: it is what ends the name.
USERS = st.text(st.characters(exclude_characters=":\0", codec="utf-8"), min_size=1)
PASSWORDS = st.text(st.characters(exclude_characters="\0", codec="utf-8"), min_size=1)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


def auth(user: str, password: str) -> str:
    return base64.b64encode(f"{user}:{password}".encode()).decode()


def found(auths: object, host: str, **more: object) -> Entry:
    return parse_logins(json.dumps({"auths": auths, **more}).encode()).find(host)


def login(entry: Entry) -> tuple[str, str] | None:
    return None if entry.login is None else (entry.login[0], entry.login[1].get_secret_value())


@given(USERS, PASSWORDS)
def test_login_comes_back_as_it_was_given(user: str, password: str) -> None:
    encoded = {"r.test:5000": {"auth": auth(user, password)}}
    plain = {"r.test:5000": {"username": user, "password": password}}

    assert login(found(encoded, "r.test:5000")) == (user, password)
    assert login(found(plain, "r.test:5000")) == (user, password)


@given(st.binary() | JSON.map(lambda value: json.dumps(value).encode()))
def test_file_of_any_content_is_read_or_refused(content: bytes) -> None:
    with suppress(ConfigurationError):
        assert parse_logins(content).find("r.test").login is None


@given(
    st.dictionaries(st.text(), JSON | st.fixed_dictionaries({"auth": JSON, "username": JSON})),
    JSON,
    st.text(),
)
def test_entries_of_any_kind_are_read(auths: dict[str, object], helpers: object, host: str) -> None:
    for key in (host, *auths):
        entry = found(auths, key, credHelpers=helpers)
        assert entry.login is None or all((entry.login[0], entry.login[1].get_secret_value()))


@pytest.mark.parametrize(
    "key",
    [
        "r.test",
        "https://r.test",
        "http://r.test/",
        "https://r.test/v1/",
        "https://R.test/v2/",
        "r.test/team",
    ],
)
def test_key_stands_for_exactly_its_host(key: str) -> None:
    auths = {key: {"auth": auth("ada", "pass")}}

    assert login(found(auths, "r.test")) == ("ada", "pass")
    for other in ("a.r.test", "r.test:5000", "ar.test", "test", ""):
        assert found(auths, other).login is None


@pytest.mark.parametrize("host", ["registry-1.example.test", "index.example.test", "example.test"])
def test_index_serves_the_hosts_of_its_domain(host: str) -> None:
    auths = {"https://index.example.test/v1/": {"auth": auth("ada", "pass")}}

    assert login(found(auths, host)) == ("ada", "pass")
    assert found(auths, f"{host}.evil.test").login is None
    assert found(auths, "notexample.test").login is None


@pytest.mark.parametrize(
    "key", ["https://index.test/v1/", "https://index.example.test/v2/", "index.example.test"]
)
def test_nothing_else_serves_other_hosts(key: str) -> None:
    assert found({key: {"auth": auth("ada", "pass")}}, "registry.example.test").login is None


def test_host_itself_goes_before_a_url() -> None:
    auths = {
        "https://r.test/v1/": {"auth": auth("url", "x")},
        "r.test": {"auth": auth("host", "x")},
    }

    assert login(found(auths, "r.test")) == ("host", "x")


@pytest.mark.parametrize(
    ("config", "problem"),
    [
        ({"auths": {"r.test": {"identitytoken": "t", "auth": "YTpi"}}}, TOKEN),
        ({"auths": {"r.test": {}}, "credsStore": "desktop"}, HELPED),
        ({"credsStore": "desktop"}, HELPED),
        ({"credHelpers": {"r.test": "ecr-login"}}, HELPED),
        ({"credHelpers": {"other.test": "ecr-login"}}, ""),
        ({"auths": {"r.test": {}}}, ""),
        ({}, ""),
    ],
)
def test_login_that_is_there_but_no_use_is_explained(config: object, problem: str) -> None:
    entry = parse_logins(json.dumps(config).encode()).find("r.test")

    assert (entry.login, entry.problem) == (None, problem)


def test_passwords_do_not_show_when_the_logins_are_printed() -> None:
    logins = parse_logins(json.dumps({"auths": {"r.test": {"auth": auth("a", "hidden")}}}).encode())

    assert "hidden" not in f"{logins} {logins!r} {logins.by_key()}"


def test_configuration_is_where_the_docker_command_line_has_it() -> None:
    assert config_path({"DOCKER_CONFIG": "/etc/ks"}) == Path("/etc/ks/config.json")
    assert config_path({}) == Path.home() / ".docker" / "config.json"


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"{", "it is not JSON of the docker command line"),
        (b"[" * 100_000, "it is not JSON of the docker command line"),
        (b" " * (LARGEST_CONFIG + 1), "it is larger than 1024 KiB"),
    ],
)
def test_file_that_cannot_be_used_means_no_logins_and_a_line(
    tmp_path: Path, content: bytes, told: str
) -> None:
    file = tmp_path / "config.json"
    file.write_bytes(content)
    lines: list[str] = []

    assert read_logins(file, lines.append).by_key() == {}
    assert lines == [f"no registry logins: {file} cannot be used, {told}"]


def test_file_that_cannot_be_opened_means_no_logins_and_a_line(tmp_path: Path) -> None:
    lines: list[str] = []

    assert read_logins(tmp_path, lines.append).by_key() == {}
    assert lines == [f"no registry logins: {tmp_path} cannot be read (Is a directory)"]


def test_nobody_needs_a_file(tmp_path: Path) -> None:
    lines: list[str] = []

    assert read_logins(tmp_path / "config.json", lines.append).by_key() == {}
    assert read_logins(None, lines.append).by_key() == {}
    assert lines == []
