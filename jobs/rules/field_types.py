"""The types of an app's fields: the allowed values, and the error messages for the rest. Pure.

Every value here is passed to git, Docker or the router, so each type defines exactly what it may
hold (FACTS E: most break-ins of deploy tools came in through such a field).
"""

import math
import re
from enum import StrEnum
from typing import Annotated, TypeVar
from urllib.parse import urlsplit

from pydantic import (
    AfterValidator,
    Field,
    SecretStr,
    TypeAdapter,
)

from jobs.rules.domain_names import is_metadata, plain_domain, plain_host
from jobs.rules.naming import VARIABLE_NAME, VARIABLE_NAME_WORDS
from jobs.rules.pattern_text import path_list, path_text, tag_text
from jobs.rules.refs import BRANCH_PREFIX, NEWEST_TAG, TAG_PREFIX, is_sha
from jobs.rules.text import TRICKS

NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,62}")
NAME_WORDS = "use lower-case letters, digits and dashes, at most 63"
# The name of an image must not end with a dash.
APP_NAME = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")
# The names of enterprise-managed owners hold an underscore.
FULL_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,99}/[A-Za-z0-9._-]{1,100}")
# What git check-ref-format refuses, control characters, and lone surrogates.
BAD_IN_REF = re.compile(
    r"[\x00-\x20\x7f\ud800-\udfff~^:?*\[\\]|\.\.|@\{|//|/\.|\.lock(/|$)|^[-/.]|[/.]$"
)
BAD_IN_PATH = re.compile(r"[\x00-\x1f\x7f\\]")
MOST_LABELS = 50
# The names that `ulimit` and Docker use.
ULIMITS = frozenset(
    [
        "core",
        "cpu",
        "data",
        "fsize",
        "locks",
        "memlock",
        "msgqueue",
        "nice",
        "nofile",
        "nproc",
        "rss",
        "rtprio",
        "rttime",
        "sigpending",
        "stack",
    ]
)
BAD_IN_URL = re.compile(r"[\x00-\x20\x7f\"'`;|&$<>(){}\\^]")


def _app_name(value: str) -> str:
    if not APP_NAME.fullmatch(value):
        raise ValueError(
            "use 1 to 63 lower-case letters, digits and dashes, with no dash first or last"
        )
    if value == "new":
        raise ValueError("new is the address of the page that adds apps; choose another name")
    return value


def _full_name(value: str) -> str:
    plain = value.removesuffix(".git")
    if not FULL_NAME.fullmatch(plain) or plain.endswith(("/.", "/..")):
        raise ValueError('write the repository as "owner/name", the way GitHub shows it')
    return plain


def _branch(value: str) -> str:
    if not value or BAD_IN_REF.search(value) or len(value.encode()) > 250:  # noqa: PLR2004
        raise ValueError("is not a branch name that git allows")
    if value.startswith("refs/"):
        raise ValueError("give the branch's short name, like main")
    return value


def _inside(value: str) -> str:
    parts = value.split("/")
    if not value or value.startswith("/") or ".." in parts or BAD_IN_PATH.search(value):
        raise ValueError(
            "must be a path inside the repository, without .. and not beginning with /"
        )
    return value


def _health_path(value: str) -> str:
    if not value.startswith("/") or value.startswith("//") or re.search(r"[^\x21-\x7e]", value):
        raise ValueError("must begin with one / and hold no spaces, like /health")
    return value


def _git_url(value: str) -> str:
    try:
        parts = urlsplit(value)
        _ = parts.port  # raises ValueError if the port is invalid
    except ValueError:
        raise ValueError("must be a URL like https://github.com/owner/name.git") from None
    if parts.scheme not in {"https", "http", "file"}:
        raise ValueError("must be a URL like https://github.com/owner/name.git")
    if "@" in parts.netloc:
        raise ValueError("must not hold a user name or a token; give the token as `token`")
    if parts.scheme != "file" and not parts.hostname:
        raise ValueError("names no host")
    if is_metadata(parts.hostname or ""):
        raise ValueError("names an address that no git server has")
    if BAD_IN_URL.search(value) or parts.query or parts.fragment:
        raise ValueError("holds characters that no git URL needs")
    return value


def _status_range(value: str) -> str:
    found = re.fullmatch(r"([1-5]\d\d)(?:-([1-5]\d\d))?", value)
    if found is None or int(found[1]) > int(found[2] or found[1]):
        raise ValueError("must be a status like 200, or a range like 200-399")
    return value


def _variable(value: str) -> str:
    if not VARIABLE_NAME.fullmatch(value):
        raise ValueError(f"is not the name of an environment variable: {VARIABLE_NAME_WORDS}")
    return value


def _ulimit(value: str) -> str:
    found = re.fullmatch(r"([a-z]+)=(-1|[0-9]{1,18})(?::(-1|[0-9]{1,18}))?", value)
    if found is None:
        raise ValueError("must be a limit and its value, like nofile=65536 or nproc=512:1024")
    if found[1] not in ULIMITS:
        raise ValueError(f"limits {found[1]}, which Linux does not know")
    soft, hard = (
        math.inf if text == "-1" else int(text) for text in (found[2], found[3] or found[2])
    )
    if soft > hard:
        raise ValueError("must not have a soft limit above the hard one")
    return value


def each_limit_once(values: tuple[str, ...]) -> tuple[str, ...]:
    """Refuse limits if one of them is named twice."""
    names = [value.partition("=")[0] for value in values]
    if twice := next((name for name in names if names.count(name) > 1), None):
        raise ValueError(f"name {twice} more than once")
    return values


def _volume(value: str) -> str:
    name, _, path = value.partition(":")
    if not NAME.fullmatch(name):
        raise ValueError("must be a volume's name and a path, like data:/var/lib/app")
    # A second colon would start a third part, with options for the engine.
    if not re.fullmatch(r"/[^:\x00-\x1f\x7f]+", path) or ".." in path.split("/"):
        raise ValueError("must mount the volume at an absolute path, like data:/var/lib/app")
    return value


def _asset_path(value: str) -> str:
    if not value.startswith("/"):
        raise ValueError("must begin with a slash, like /assets/*")
    if "*" in value[:-1]:
        raise ValueError("can hold a * only as its last character, like /assets/*")
    # The router's map separates its columns by spaces, and its commands by semicolons.
    if not re.fullmatch(r"/[A-Za-z0-9._~%@+/-]*\*?", value):
        raise ValueError("holds a character other than letters, digits and . _ ~ % @ + / -")
    return value


def _label(value: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._/@-]*", value):
        raise ValueError("is not a name for a label")
    if value.startswith("keystone."):
        raise ValueError("labels that begin with keystone. are Keystone's own")
    return value


def _readable(value: str) -> str:
    if "\0" in value:
        raise ValueError("cannot hold a zero byte")
    if TRICKS.search(value):
        raise ValueError("holds characters that nobody sees, or that turn the direction of text")
    return value


def each_once(values: list[str]) -> list[str]:
    """Drop repeated values."""
    return list(dict.fromkeys(values))


def few(value: object) -> object:
    """Refuse an object with more than `MOST_LABELS` entries."""
    # Runs before the entries are checked: describing 100,000 mistakes takes a third of a second.
    if isinstance(value, dict) and len(value) > MOST_LABELS:
        raise ValueError(f"can have at most {MOST_LABELS} entries")
    return value


def _one_word(value: SecretStr) -> SecretStr:
    text = value.get_secret_value()
    if not text.isascii() or not text.isprintable() or " " in text:
        raise ValueError("must be one word of printable characters")
    return value


Choice = TypeVar("Choice", bound=StrEnum)
# A choice of words, given as text even where validation is strict.
Said = Annotated[Choice, Field(strict=False)]
Item = TypeVar("Item")
# A list in JSON or TOML, kept as an immutable tuple.
Many = Annotated[tuple[Item, ...], Field(strict=False)]
AppName = Annotated[str, AfterValidator(_app_name)]
RepositoryName = Annotated[str, AfterValidator(_full_name)]
Branch = Annotated[str, AfterValidator(_branch), AfterValidator(_readable)]
PathInside = Annotated[
    str, Field(max_length=250), AfterValidator(_inside), AfterValidator(_readable)
]


HealthPath = Annotated[str, Field(max_length=500), AfterValidator(_health_path)]
HealthHost = Annotated[str, Field(max_length=300), AfterValidator(plain_host)]
GitUrl = Annotated[str, Field(max_length=500), AfterValidator(_git_url), AfterValidator(_readable)]
Port = Annotated[int, Field(ge=1, le=65535)]
VariableName = Annotated[str, AfterValidator(_variable)]
_Pattern = Annotated[str, Field(min_length=1, max_length=250), AfterValidator(_readable)]
PathPatterns = Annotated[
    Many[Annotated[_Pattern, AfterValidator(path_text)]], AfterValidator(path_list)
]
TagPatterns = Annotated[_Pattern, AfterValidator(tag_text)]
Word = Annotated[str, Field(pattern=r"^[A-Za-z0-9_][A-Za-z0-9_.-]{0,99}$")]
Signal = Annotated[str, Field(pattern=r"^SIG[A-Z0-9+]{2,12}$")]
StatusRange = Annotated[str, AfterValidator(_status_range)]
Ulimit = Annotated[str, AfterValidator(_ulimit)]
Volume = Annotated[str, Field(max_length=300), AfterValidator(_volume), AfterValidator(_readable)]
AssetPath = Annotated[str, Field(max_length=200), AfterValidator(_asset_path)]
LabelName = Annotated[str, Field(max_length=200), AfterValidator(_label)]
Phrase = Annotated[str, Field(min_length=3, max_length=100), AfterValidator(_readable)]
Token = Annotated[SecretStr, Field(max_length=500), AfterValidator(_one_word)]
Argument = Annotated[str, Field(max_length=4096), AfterValidator(_readable)]
DomainName = Annotated[str, Field(max_length=300), AfterValidator(plain_domain)]
LONGEST_REF = 500
SHORTEST_SHORT_SHA = 7
WHOLE_SHA = 40
_BRANCH: TypeAdapter[str] = TypeAdapter(Branch)


def full_ref(text: str) -> str:
    """Give the full name of the ref or commit to deploy; a commit id must be whole.

    Raises:
        ValueError: the text is neither a ref nor a commit id, or it is ambiguous.
    """
    if text == NEWEST_TAG:
        return text
    lowered = text.lower()
    if is_sha(lowered):
        return lowered
    if SHORTEST_SHORT_SHA <= len(text) < WHOLE_SHA and set(lowered) <= set("0123456789abcdef"):
        raise ValueError(
            f"looks like a short commit id; give all {WHOLE_SHA} characters of it, "
            f"or {BRANCH_PREFIX}{text} for a branch"
        )
    prefix = next((p for p in (BRANCH_PREFIX, TAG_PREFIX) if text.startswith(p)), BRANCH_PREFIX)
    name = text.removeprefix(prefix)
    if name in {"HEAD", "@"}:
        raise ValueError("name a branch, or give a whole commit id")
    return prefix + _BRANCH.validate_python(name)


Ref = Annotated[str, Field(max_length=LONGEST_REF), AfterValidator(full_ref)]
REF: TypeAdapter[str] = TypeAdapter(Ref)
