"""Which variables look like secrets, and which values logs cannot mask."""

import time

import pytest

from jobs.rules.secret_values import COMMON_WORDS, is_masked, looks_secret, unmasked_note


@pytest.mark.parametrize(
    "name",
    [
        *(
            "API_KEY",
            "apiKey",
            "ApiKey",
            "APIKEY",
            "api-key",
            "stripe.api.key",
            "AWS_ACCESS_KEY_ID",
        ),
        *("TOKEN", "GITHUB_TOKEN", "accessToken", "ACCESSTOKEN", "Jwt__SigningKey", "DB_PASS"),
        *(
            "SECRET_KEY_BASE",
            "clientSecret",
            "PGPASSWORD",
            "MYSQL_PWD",
            "spring.datasource.password",
        ),
        *("SENTRY_DSN", "AWS_CREDENTIALS", "SSH_PRIVATE_KEY", "BASIC_AUTH", "API_KEY_2", "DBPASS"),
        *("PASSWORD", "SESSION_SALT", "ENCRYPTION_KEYS"),
    ],
)
def test_names_of_secrets(name: str) -> None:
    assert looks_secret(name, "abc")


@pytest.mark.parametrize(
    "name",
    [
        *(
            "MODE",
            "LOG_LEVEL",
            "NODE_ENV",
            "discovery.type",
            "KEYBOARD",
            "MONKEY",
            "AUTHOR",
            "PATH",
        ),
        *("AUTH_URL", "TOKEN_TTL", "DB_PASSWORD_FILE", "SECRET_NAME", "AUTH_PROVIDER", "PASSIVE"),
        *("NEXT_PUBLIC_API_KEY", "STRIPE_PUBLISHABLE_KEY", "PUBLIC_KEY", "COMPASS", "DATABASE_URL"),
        *("SSH_PRIVATE_KEY_PATH", "TOKENIZERS_PARALLELISM", "_", "1"),
    ],
)
def test_names_of_others(name: str) -> None:
    assert not looks_secret(name, "abc")


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("MAX_TOKENS", "4096", False),
        ("USE_AUTH", "true", False),
        ("API_KEY", "", False),
        ("API_KEY", "1234567890123", True),
        ("PASSWORD", "1234", True),
        ("DATABASE_URL", "postgres://me:pw@db/shop", True),
        ("REDIS_URL", "redis://:pw@cache:6379/0", True),
        ("DATABASE_URL", "postgres://db:5432/shop", False),
        ("SITE", "https://example.org/a:b@c", False),
        ("ConnectionStrings:Db", "Server=db;User Id=me;Password=pw;", True),
        ("JDBC", "jdbc:postgresql://db/shop?user=me&password=pw", True),
        ("CERT", "-----BEGIN RSA PRIVATE KEY-----\nabc", True),
        ("CERT", "-----BEGIN CERTIFICATE-----\nabc", False),
    ],
)
def test_the_value_counts_too(name: str, value: str, *, expected: bool) -> None:
    assert looks_secret(name, value) is expected


@pytest.mark.parametrize("piece", ["a://" + ":" * 60, "a:", "://:", "pwd ", "-----BEGIN A", "a"])
def test_no_value_takes_long_to_judge(piece: str) -> None:
    value = piece * (64 * 1024 // len(piece))
    started = time.process_time()
    looks_secret("MODE", value)
    looks_secret(value[:200], "")
    assert time.process_time() - started < 2


@pytest.mark.parametrize("value", ["", "abc", "production", "TRUE", "8080", "12345", "2024"])
def test_what_every_log_holds_is_not_masked(value: str) -> None:
    assert not is_masked(value)


@pytest.mark.parametrize("value", ["abcd", "123456", "1234a", "hunter2", "production2", "٣٣٣٣"])
def test_everything_else_is(value: str) -> None:
    assert is_masked(value)


def test_the_common_words_are_written_as_they_are_compared() -> None:
    assert {word.casefold() for word in COMMON_WORDS} == COMMON_WORDS


@pytest.mark.parametrize("value", ["production", "1234", "abc", "true\n", "true\nfalse\n"])
def test_a_secret_that_no_log_masks_is_told_without_its_value(value: str) -> None:
    note = unmasked_note("A", value)
    assert note.startswith("logs show the value of A")
    assert "choose a longer" in note
    assert value.strip() not in note


@pytest.mark.parametrize("value", ["", "hunter2", "true\nhunter2"])
def test_of_any_other_nothing_is_told(value: str) -> None:
    assert unmasked_note("A", value) == ""
