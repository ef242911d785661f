"""The URLs among Keystone's own settings: what they may be, so that no part is ignored. Pure."""

import re
from urllib.parse import urlsplit

from jobs.rules.domain_names import plain_http_url

SQLITE = "sqlite:///"
PAGES_OF_GITHUB = frozenset({"https://github.com", "https://www.github.com"})
# redis-py ignores a path that is no number, and reads `unix://run/redis.sock` as `/redis.sock`.
REDIS_URL = re.compile(r"rediss?://[^/?#]+(/\d*)?(\?[^#]*)?|unix://([^/?#]*@)?/[^?#]+(\?[^#]*)?")


def own_url(value: str) -> str:
    """Give the URL of Keystone itself: of the root of a host.

    Raises:
        ValueError: the value is no URL, or it has a path.
    """
    url = plain_http_url(value)
    if urlsplit(url).path:
        raise ValueError(
            "must not have a path: Keystone is served at the root of a host; give it a name or a "
            "port of its own, like https://keystone.example.com"
        )
    return url


def github_api(value: str) -> str:
    """Give the URL of GitHub's API; GitHub Enterprise's has a path.

    Raises:
        ValueError: the value is no URL, or that of GitHub's pages.
    """
    url = plain_http_url(value)
    if url in PAGES_OF_GITHUB:
        raise ValueError("is the address of GitHub's pages; the API is https://api.github.com")
    return url


def database(value: str) -> str:
    """Check the URL of a database.

    Raises:
        ValueError: Keystone cannot use such a database.
    """
    if not value.startswith((SQLITE, "postgresql+psycopg://")):
        raise ValueError("must begin with sqlite:/// or postgresql+psycopg://")
    if value in {SQLITE, f"{SQLITE}:memory:"}:
        raise ValueError("must name a file: each process would have a database of its own")
    return value


def redis(value: str) -> str:
    """Check the URL of a Redis server.

    Raises:
        ValueError: it is not one, or a part of it would be ignored.
    """
    if not value.startswith(("redis://", "rediss://", "unix://")):
        raise ValueError("must begin with redis://, rediss:// or unix://")
    if not REDIS_URL.fullmatch(value):
        raise ValueError(
            "must be like redis://HOST:PORT/0, where 0 is the database's number, or like "
            "unix:///run/redis.sock, with three slashes"
        )
    return value
