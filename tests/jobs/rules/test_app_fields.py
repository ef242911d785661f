"""What an app may be: each field says what it holds, and no more."""

import re
from collections.abc import Callable
from enum import StrEnum

import pytest
from pydantic import ValidationError

from jobs.errors import ConfigurationError
from jobs.rules.app_fields import AppChange, AppInput, ensure_scheme, parse_ref
from jobs.rules.app_settings import ContainerSettings
from jobs.rules.mistakes import parse_input
from tests.builders import fields_of

GOOD = {"name": "web", "repository": "octo/web"}


def problems(**fields: object) -> tuple[str, ...]:
    with pytest.raises(ConfigurationError) as caught:
        parse_input(AppInput, {**GOOD, **fields})
    return caught.value.problems


def test_two_fields_make_an_app() -> None:
    app = parse_input(AppInput, GOOD)
    assert (app.branch, app.dockerfile, app.context) == ("main", "Dockerfile", ".")
    assert (app.container_port, app.host_port, app.keep_releases) == (None, None, 5)


# Whichever there are: a field that is new is held to the same.
NUMBERS, SWITCHES = fields_of(AppChange, int, float), fields_of(AppChange, bool)
GOOD_VALUES = [
    ("name", "a"),
    ("name", "0-9"),
    ("name", "x" * 63),
    ("repository", "octo-cat/web.site_2"),
    ("branch", "feature/x.y"),
    ("branch", "ümlaut"),
    ("dockerfile", "docker/Dockerfile.prod"),
    ("context", "services/web"),
    ("health_path", "/health?deep=1"),
    ("git_url", "https://git.example.org:8443/octo/web.git"),
    ("command", ["/web", "--flag", "a b"]),
    ("cpus", 0.5),
]
BAD_VALUES = [
    ("name", ""),
    ("name", "-web"),
    ("name", "web-"),
    ("name", "Web"),
    ("name", "web\n"),
    ("name", "x" * 64),
    ("name", "../web"),
    ("repository", "web"),
    ("repository", "octo/web/more"),
    ("repository", "-octo/web"),
    ("repository", "octo/.."),
    ("repository", "octo/.git"),
    ("repository", "octo/..git"),
    ("repository", "octo/web\n"),
    ("branch", ""),
    ("branch", "--upload-pack=evil"),
    ("branch", "a..b"),
    ("branch", "a b"),
    ("branch", "a~1"),
    ("branch", "a^"),
    ("branch", "a:b"),
    ("branch", "refs/heads/main"),
    ("branch", "main.lock"),
    ("branch", "a/.b"),
    ("branch", "main\n"),
    ("branch", "x" * 251),
    ("branch", None),
    ("dockerfile", "/etc/passwd"),
    ("dockerfile", "../Dockerfile"),
    ("dockerfile", "a/../../b"),
    ("dockerfile", "a\x00b"),
    ("context", ""),
    ("context", "a\\b"),
    ("container_port", 0),
    ("container_port", 65536),
    ("host_port", 65536),
    ("health_path", "health"),
    ("health_path", "//evil.example"),
    ("health_path", "/a b"),
    ("health_path", "/a\r\nHost: evil"),
    ("health_host", ""),
    ("health_host", "a b"),
    ("health_host", "a.example\r\nX-Evil: 1"),
    ("health_host", "https://a.example"),
    ("health_host", "a.example/path"),
    ("health_host", "user@a.example"),
    ("health_host", "a.example:0"),
    ("health_host", "a.example:65536"),
    ("health_host", "::1"),
    ("health_host", "[nonsense]"),
    ("health_host", "*.example.com"),
    ("health_host", "x" * 254),
    ("health_timeout_s", 0),
    ("health_timeout_s", 3601),
    ("git_url", "ssh://git@github.com/octo/web"),
    ("git_url", "ext::sh -c evil"),
    ("git_url", "https://user:token@github.com/octo/web"),
    ("git_url", "https:///octo/web"),
    ("git_url", "https://github.com/octo/web?x=1"),
    ("git_url", "https://github.com/$(evil)"),
    ("git_url", "https://[::1"),
    ("git_url", "https://169.254.169.254/latest/meta-data"),
    ("git_url", "https://169.254.169.254./latest"),
    ("git_url", "https://2852039166/latest"),
    ("git_url", "https://0xa9fea9fe/latest"),
    ("git_url", "https://0251.0376.0251.0376/latest"),
    ("git_url", "https://169.254.43518/latest"),
    ("git_url", "https://[::ffff:169.254.169.254]/latest"),
    ("git_url", "https://[fe80::1]/latest"),
    ("git_url", "https://[fd00:ec2::254]/latest"),
    ("git_url", "https://metadata.google.internal/computeMetadata/v1"),
    ("git_url", "https://METADATA.google.internal./computeMetadata/v1"),
    ("git_url", "https://100.100.100.200/latest"),
    ("git_url", "https://%31%36%39.254.169.254/latest"),
    ("git_url", "https://[fe80::1]/octo/web"),
    ("memory_mb", 5),
    ("cpus", 0),
    ("cpus", float("nan")),
    ("command", []),
    ("keep_releases", 0),
    ("skip_phrases", ["x"]),
]

# A value of another type than the field's, which must not be turned into one.
OTHER_TYPES: list[tuple[str, object]] = [
    *((name, True) for name in NUMBERS),
    *((name, "1") for name in NUMBERS),
    ("container_port", 8000.0),
    *((name, value) for name in SWITCHES for value in (1, 0, "true", "yes", 1.0)),
    ("branch", 1),
    ("dockerfile", True),
    ("domains", ("a.example.com",)),
    ("command", "web"),
    ("labels", [["a", "b"]]),
    ("labels", {"a": 1}),
    ("token", 12345678),
    ("on_new_push", True),
    ("restart", 1),
]


@pytest.mark.parametrize(("field", "value"), OTHER_TYPES)
def test_a_value_of_another_type_is_not_turned_into_one(field: str, value: object) -> None:
    assert problems(**{field: value})[0].startswith(f"{field}")


READ_BY_PEOPLE: dict[str, Callable[[str], object]] = {
    "branch": lambda trick: f"ma{trick}in",
    "dockerfile": lambda trick: f"Docker{trick}file",
    "context": lambda trick: f"a{trick}pi",
    "git_url": lambda trick: f"https://git.example.org/o{trick}cto/web.git",
    "watch_paths": lambda trick: [f"api/{trick}**"],
    "tag_pattern": lambda trick: f"v{trick}*",
    "skip_phrases": lambda trick: [f"[skip {trick}ci]"],
    "command": lambda trick: ["./web", f"--{trick}safe"],
    "volumes": lambda trick: [f"data:/var/{trick}lib"],
    "labels": lambda trick: {"team": f"bl{trick}ue"},
}


@pytest.mark.parametrize(
    "trick",
    ["\u202e", "\u2066", "\u200b", "\u200f", "\ufeff", "\xad", "\x1b", "\x9b", "\r", "\u2028"],
)
@pytest.mark.parametrize("field", READ_BY_PEOPLE)
def test_what_people_read_holds_nothing_that_fools_them(field: str, trick: str) -> None:
    assert getattr(parse_input(AppInput, {**GOOD, field: READ_BY_PEOPLE[field]("é")}), field)
    (problem,) = problems(**{field: READ_BY_PEOPLE[field](trick)})
    assert problem.startswith(field)
    assert trick not in problem


def test_a_ref_that_is_to_be_deployed_is_held_to_the_same() -> None:
    with pytest.raises(ConfigurationError, match=r"^ref: .*characters that nobody sees"):
        parse_ref("ma\u202ein")


@pytest.mark.parametrize("name", NUMBERS)
def test_where_everything_is_text_numbers_are_read_from_it(name: str) -> None:
    usual = getattr(AppChange(), name) or 1
    found = parse_input(AppChange, {name: str(usual)}, is_text=True)
    assert getattr(found, name) == usual


@pytest.mark.parametrize("name", fields_of(AppChange, *StrEnum.__subclasses__()))
def test_one_of_some_words_is_always_given_as_text(name: str) -> None:
    usual = getattr(AppChange(), name)
    for is_text in (False, True):
        assert getattr(parse_input(AppChange, {name: str(usual)}, is_text=is_text), name) is usual


@pytest.mark.parametrize(("field", "value"), GOOD_VALUES)
def test_good_values_are_taken(field: str, value: object) -> None:
    found = getattr(parse_input(AppInput, {**GOOD, field: value}), field)
    assert (list(found) if isinstance(found, tuple) else found) == value


@pytest.mark.parametrize(("field", "value"), BAD_VALUES)
def test_bad_values_are_refused_by_the_fields_name(field: str, value: object) -> None:
    (sentence,) = problems(**{field: value})
    assert sentence.startswith((f"{field}: ", f"{field}.0: "))


def test_the_ending_of_a_clone_url_is_left_out() -> None:
    assert parse_input(AppInput, {**GOOD, "repository": "octo/web.git"}).repository == "octo/web"


def test_all_mistakes_are_told_together() -> None:
    found = problems(name="-", container_port=0, nonsense=1)
    assert {sentence.partition(":")[0] for sentence in found} == {
        "name",
        "container_port",
        "nonsense",
    }
    assert "nonsense: there is no such field" in found


def test_what_is_missing_is_named() -> None:
    with pytest.raises(ConfigurationError) as caught:
        parse_input(AppInput, {})
    assert set(caught.value.problems) == {"name: is required", "repository: is required"}


@pytest.mark.parametrize("body", [None, [], "web", 7])
def test_anything_else_than_an_object_is_refused(body: object) -> None:
    with pytest.raises(ConfigurationError, match=r"^body: "):
        parse_input(AppInput, body)


def test_a_token_is_never_quoted() -> None:
    assert "hunter2" not in str(problems(token=["hunter2"]))


def test_a_change_names_only_what_was_given() -> None:
    assert parse_input(AppChange, {"branch": "next"}).given() == {"branch": "next"}
    assert parse_input(AppChange, {"health_path": None}).given() == {"health_path": None}


def test_only_the_allowed_schemes_are_fetched_by() -> None:
    ensure_scheme("https://github.com/octo/web.git", ("https",))
    with pytest.raises(ConfigurationError, match="file is not allowed"):
        ensure_scheme("file:///etc", ("https",))


@pytest.mark.parametrize(
    "path", ["/assets/*", "/app.css", "/*", "/_next/static/*", "/build-*", "/a%20b/~x@1+2.js"]
)
def test_asset_paths_that_are_taken(path: str) -> None:
    assert ContainerSettings(asset_paths=(path,)).asset_paths == (path,)


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("assets/*", "must begin with a slash, like /assets/*"),
        ("", "must begin with a slash"),
        ("/assets/*.js", "can hold a * only as its last character"),
        ("/**", "can hold a * only as its last character"),
        ("/a b", "holds a character other than"),
        ("/a;disable server x", "holds a character other than"),
        ("/a\nset server", "holds a character other than"),
        ("/a\n", "holds a character other than"),
        ("/a?b", "holds a character other than"),
        ("/ü", "holds a character other than"),
        ("/" + "a" * 200, "at most 200 characters"),
    ],
)
def test_asset_paths_that_are_refused(path: str, words: str) -> None:
    with pytest.raises(ValidationError, match="(?i)" + re.escape(words)):
        ContainerSettings(asset_paths=(path,))


def test_minutes_that_a_container_is_kept_warm_are_bounded() -> None:
    assert ContainerSettings().warm_minutes == 0
    for minutes in (-1, 1441):
        with pytest.raises(ValidationError):
            ContainerSettings(warm_minutes=minutes)


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ("App.Example.com", "app.example.com"),
        ("b\u00fccher.example:8443", "xn--bcher-kva.example:8443"),
        ("localhost", "localhost"),
        ("my_service:80", "my_service:80"),
        ("10.0.0.7", "10.0.0.7"),
        ("[::1]:3000", "[::1]:3000"),
    ],
)
def test_the_host_of_a_health_check_is_kept_as_it_is_sent(given: str, kept: str) -> None:
    assert parse_input(AppChange, {"health_host": given}).health_host == kept
