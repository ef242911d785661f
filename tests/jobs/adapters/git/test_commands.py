"""The argument lists and environments given to git, and what is refused before git sees it."""

import base64
import subprocess
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import SecretStr

from jobs.adapters.git import commands
from jobs.errors import CheckoutError
from jobs.rules.repository_values import Remote

TOKEN = "ghp_Commands0123456789"
URL = "https://github.com/octo/web.git"
MIRROR = Path("/data/mirrors/7-sha1.git")
SHA = "a" * 40


def settings_in(environment: dict[str, str]) -> dict[str, str]:
    count = int(environment["GIT_CONFIG_COUNT"])
    numbers = range(count)
    return {
        environment[f"GIT_CONFIG_KEY_{n}"]: environment[f"GIT_CONFIG_VALUE_{n}"] for n in numbers
    }


def test_what_comes_from_outside_stands_behind_the_end_of_options() -> None:
    assert commands.fetch(MIRROR, URL, SHA) == [
        "--git-dir=/data/mirrors/7-sha1.git",
        "fetch",
        "--quiet",
        "--no-tags",
        "--depth=1",
        "--no-write-fetch-head",
        "--end-of-options",
        URL,
        f"+{SHA}:refs/keystone/{SHA}",
    ]
    assert commands.list_remote(URL, "refs/heads/-x")[2:] == [
        "--end-of-options",
        URL,
        "refs/heads/-x",
        "refs/heads/-x^{}",
    ]
    assert commands.list_tree(MIRROR, SHA, "-x")[-2:] == ["--end-of-options", f"{SHA}:-x"]


def test_the_token_is_scoped_to_the_remotes_own_origin() -> None:
    remote = Remote(1, "https://git.example.org:8443/octo/web.git", SecretStr(TOKEN))
    pair = base64.b64encode(f"x-access-token:{TOKEN}".encode()).decode()
    assert commands.network_settings(remote, ("https",)) == {
        "protocol.https.allow": "always",
        "http.https://git.example.org:8443/.extraHeader": f"Authorization: Basic {pair}",
    }


def test_without_a_token_or_a_server_no_header_is_made() -> None:
    assert commands.network_settings(Remote(1, URL), ("https",)) == {
        "protocol.https.allow": "always"
    }
    local = Remote(1, "file:///srv/web.git", SecretStr(TOKEN))
    assert commands.network_settings(local, ("file",)) == {"protocol.file.allow": "always"}


def test_the_environment_is_made_from_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("GIT_TRACE", "GIT_DIR", "HTTPS_PROXY", "SSH_AUTH_SOCK", "KEYSTONE_GITHUB_TOKEN"):
        monkeypatch.setenv(name, "from outside")
    environment = commands.environment({"protocol.https.allow": "always"})
    assert "from outside" not in environment.values()
    assert environment["GIT_CONFIG_GLOBAL"] == "/dev/null"
    found = settings_in(environment)
    assert found["http.followRedirects"] == "false"
    assert found["credential.helper"] == ""
    assert found["core.hooksPath"] == "/dev/null"
    assert found["transfer.fsckObjects"] == "true"
    assert (found["protocol.allow"], found["protocol.https.allow"]) == ("never", "always")


@pytest.mark.parametrize(
    "url",
    [
        URL,
        "https://github.com/octo/web",
        "https://git.example.org:8443/octo/web.git",
        "https://[::1]:8443/octo/web.git",
        "http://127.0.0.1:3000/octo/web.git",
        "file:///srv/git/web.git",
    ],
)
def test_a_usable_url_is_accepted(url: str) -> None:
    commands.check_url(url, ("https", "http", "file"))


@pytest.mark.parametrize(
    "url",
    [
        "",
        "octo/web",
        "/srv/git/web.git",
        "--upload-pack=touch pwned",
        "ext::sh -c touch% pwned",
        "ssh://-oProxyCommand=touch/x",
        "git@github.com:octo/web.git",
        "file:///srv/git/web.git",
        "file://host/srv/web.git",
        "http://github.com/octo/web.git",
        "https:///octo/web.git",
        "https://-x/octo/web.git",
        "https://*.example.org/octo/web.git",
        "https://github.com:99999/octo/web.git",
        "https://github.com/octo/web.git\n",
        "https://github.com/octo/w eb.git",
        "https://github.com/$(touch\tx)",
        "https://gith\u00fcb.com/octo/web.git",
        "https://[::1/octo",
        "https://169.254.169.254/latest/meta-data",
        "https://2852039166/latest",
        "https://0xa9fea9fe/latest",
        "https://[::ffff:a9fe:a9fe]/latest",
        "https://[fe80::1]/octo/web.git",
        "https://[fd00:ec2::254]/octo/web.git",
        "https://metadata.google.internal/octo/web.git",
        "https://168.63.129.16/octo/web.git",
    ],
)
def test_an_unusable_url_is_refused(url: str) -> None:
    with pytest.raises(CheckoutError, match="git URL"):
        commands.check_url(url, ("https",))


def test_a_password_in_a_url_is_refused_and_not_quoted() -> None:
    for url in (f"https://octo:{TOKEN}@github.com/o/w.git", f"https://{TOKEN}@github.com/o/w.git"):
        with pytest.raises(CheckoutError, match="user name or password") as caught:
            commands.check_url(url, ("https",))
        assert TOKEN not in str(caught.value)


@given(url=st.text(max_size=60) | st.text(max_size=40).map("https://".__add__))
def test_checking_a_url_never_fails_otherwise(url: str) -> None:
    try:
        commands.check_url(url, ("https",))
    except CheckoutError:
        return
    assert url.lower().startswith("https://")


@pytest.mark.parametrize(
    ("url", "name"),
    [
        (URL, "octo/web"),
        ("https://github.com/octo/web/", "octo/web"),
        ("https://git.example.org/a/b/octo/web.git", "octo/web"),
        ("https://github.com", ""),
    ],
)
def test_a_repository_is_named_by_the_end_of_its_url(url: str, name: str) -> None:
    assert commands.repository_name(url) == name


REF_TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=12)


@settings(max_examples=150, deadline=None)
@given(tail=REF_TEXT | st.text("a./@{-~*lock", max_size=8))
def test_what_counts_as_a_full_ref_git_accepts_too(tail: str) -> None:
    ref = f"refs/heads/{tail}"
    asked = subprocess.run(["git", "check-ref-format", ref], timeout=60, check=False)
    assert commands.is_full_ref(ref) == (asked.returncode == 0)


def test_half_a_character_is_no_ref() -> None:
    assert not commands.is_full_ref("refs/heads/\ud800")
    assert not commands.is_full_ref("refs/heads/main\n")


@pytest.mark.parametrize(
    ("folder", "clean"), [(".", ""), ("", ""), ("./", ""), ("./web/", "web"), ("a/./b", "a/b")]
)
def test_a_folder_is_written_as_git_writes_it(folder: str, clean: str) -> None:
    assert commands.clean_folder(folder) == clean


@given(folder=st.text(max_size=20) | st.text("./a", max_size=8))
def test_a_clean_folder_never_leads_out_of_the_repository(folder: str) -> None:
    try:
        clean = commands.clean_folder(folder)
    except CheckoutError:
        return
    assert not clean.startswith("/")
    assert ".." not in clean.split("/")
