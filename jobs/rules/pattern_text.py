r"""The stored form of patterns for watched paths and tags, or what is wrong with them. Pure.

What people mean is written out: a list with commas becomes several patterns, braces become one
pattern for each choice, and the quotes, spaces, `./`, `/` or `refs/tags/` around a pattern go. What
can never match, like a regular expression, is refused: it would silently ignore every push.
"""

import re
from collections.abc import Callable, Iterator, Sequence

from jobs.rules.globs import CLASS
from jobs.rules.refs import BRANCH_PREFIX, TAG_PREFIX

MOST_PATTERNS = 100
LONGEST_PATTERN = 250
_PIECE = re.compile(rf"\\.|{CLASS}|.", re.DOTALL)
# Globs escape only special characters; regular expressions have \d and the like.
_REGEX = re.compile(r"\^|.*(?<!\\)\$\Z|.*\\[A-Za-z0-9]|.*\([^)]*\|", re.DOTALL)
_RANGE = re.compile(r"([^\\\]])-([^\\\]])")
_NEVER_IN_TAG = re.compile(r"[\x00-\x20\x7f~^:]|\.\.|//|@\{|\.lock\Z|[./]\Z")
NO_REGEX = (
    r"is not a pattern like api/** or v[0-9]+.[0-9]+: regular expressions are not understood, "
    r"a backslash stands only before a special character, and / separates folders"
)
Plain = Callable[[str], str]


def path_text(value: str) -> str:
    """Check what was written as one pattern for paths; it may be a list with commas.

    Raises:
        ValueError: it can never match a path; the message says what to write instead.
    """
    several(value, plain_path)
    return value


def path_list(values: Sequence[str]) -> tuple[str, ...]:
    """Give the stored form of patterns for paths: each one from the repository's root.

    Raises:
        ValueError: there are too many patterns once lists and braces are written out.
    """
    found = tuple(dict.fromkeys(each for value in values for each in several(value, plain_path)))
    if len(found) > MOST_PATTERNS:
        raise ValueError(f"can be {MOST_PATTERNS} patterns, and these are {len(found)}")
    return found


def tag_text(value: str) -> str:
    """Give the stored form of patterns for tags: the patterns, separated by commas.

    Raises:
        ValueError: a pattern can never match a tag; the message says what to write instead.
    """
    stored = ",".join(dict.fromkeys(several(value, plain_tag)))
    if len(stored) > LONGEST_PATTERN:
        raise ValueError(f"can be {LONGEST_PATTERN} characters, with its braces written out")
    return stored


def several(value: str, plain: Plain) -> list[str]:
    """Write out lists and braces, and give each pattern in its stored form.

    Raises:
        ValueError: a pattern can never match, or there are more than `MOST_PATTERNS`.
    """
    listed = _split(list(_PIECE.findall(value)))
    waiting = ["".join(each) for each in listed if "".join(each).strip()]
    done: list[str] = []
    while waiting:
        if len(waiting) + len(done) > MOST_PATTERNS:
            raise ValueError(f"means more than {MOST_PATTERNS} patterns with its braces")
        text = waiting.pop(0)
        choices = _choices(text)
        waiting[:0] = choices
        if not choices:
            done.append(_settled(text, plain))
    if not done:
        raise ValueError("is empty")
    return done


def _settled(text: str, plain: Plain) -> str:
    """Write a pattern plainer until nothing is left to do, as for quotes inside spaces."""
    while (plainer := plain(text)) != text:
        text = plainer
    return text


def plain_path(text: str) -> str:
    """Give the stored form of one pattern for paths.

    Raises:
        ValueError: it can never match a path.
    """
    mark, bare = _bare(text)
    whole = re.sub(r"/(\.?/)+", "/", f"/{bare}").removeprefix("/")
    if whole in {"", "."}:
        raise ValueError("is empty; leave the field empty to watch everything")
    if ".." in whole.split("/"):
        raise ValueError("must not hold ..: paths begin at the repository's root")
    return mark + whole


def plain_tag(text: str) -> str:
    """Give the stored form of one pattern for tags.

    Raises:
        ValueError: it can never match a tag.
    """
    mark, bare = _bare(text)
    if bare.startswith(BRANCH_PREFIX):
        raise ValueError("names a branch; give the tag's name, like v*")
    name = re.sub(rf"^/*({TAG_PREFIX})*/*", "", bare)
    name = f"{name}**" if name.endswith("/") else name
    if not name:
        raise ValueError("is empty; write ** for all tags")
    fixed = "".join("*" if len(piece) > 1 else piece for piece in _PIECE.findall(name))
    if _NEVER_IN_TAG.search(fixed):
        raise ValueError("holds what no tag's name can: spaces, ~ ^ : .. // or an end like .lock")
    return mark + name


def _bare(text: str) -> tuple[str, str]:
    """Split a pattern into its `!` or "" and the rest, without quotes, spaces and a list's dash.

    Raises:
        ValueError: the pattern is a regular expression, or it is cut short.
    """
    bare = re.sub(r"^-\s+", "", text.strip())
    if len(bare) > 1 and bare[0] == bare[-1] and bare[0] in "'\"":
        bare = bare[1:-1].strip()
    mark = "!" if bare.startswith("!") else ""
    rest = bare.removeprefix("!").strip()
    if _REGEX.match(rest):
        raise ValueError(NO_REGEX)
    pieces = _PIECE.findall(rest)
    if "[" in pieces or "\\" in pieces or any(map(_is_empty_range, pieces)):
        raise ValueError(
            r"has a bracket that is not closed properly, or a \ at its end; \[ is the bracket"
        )
    # Shells write [!a] for what is [^a] here.
    return mark, "".join(re.sub(r"^\[!", "[^", t) if len(t) > 1 else t for t in pieces)


def _is_empty_range(piece: str) -> bool:
    is_class = len(piece) > 1 and piece.startswith("[")
    return is_class and any(low > high for low, high in _RANGE.findall(piece))


def _split(pieces: Sequence[str]) -> list[list[str]]:
    """Split at the commas that are not inside braces."""
    parts, depth, left = [list[str]()], 0, pieces.count("}")
    for piece in pieces:
        left -= piece == "}"
        # A brace that is never closed stands for itself.
        depth = max(0, depth + (piece == "{" and left > depth) - (piece == "}"))
        if piece == "," and not depth:
            parts.append([])
        else:
            parts[-1].append(piece)
    return parts


def _choices(text: str) -> list[str]:
    """Write out the first braces that hold a comma; return nothing if there are none."""
    pieces = list(_PIECE.findall(text))
    for begin, end in _braces(pieces):
        choices = _split(pieces[begin + 1 : end])
        if len(choices) > 1:
            before, after = "".join(pieces[:begin]), "".join(pieces[end + 1 :])
            return [before + "".join(choice) + after for choice in choices]
    return []


def _braces(pieces: Sequence[str]) -> Iterator[tuple[int, int]]:
    """Give the places of each pair of braces, outer ones before those inside."""
    opened: list[int] = []
    found: list[tuple[int, int]] = []
    for place, piece in enumerate(pieces):
        if piece == "{":
            opened.append(place)
        elif piece == "}" and opened:
            found.append((opened.pop(), place))
    yield from sorted(found)
