"""The git commands Keystone runs, as argument lists and environments. Pure: nothing runs here.

Whatever comes from outside stands behind `--end-of-options`, and no secret stands in an argument.
The environment is built from nothing, so that neither the machine's nor a person's git
configuration, credentials or proxies have a say.
"""

import base64
import re
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from urllib.parse import SplitResult, urlsplit

from jobs.errors import CheckoutError
from jobs.rules.domain_names import is_metadata
from jobs.rules.repository_values import Remote

SEARCH_PATH = "/usr/local/bin:/usr/bin:/bin"
SHA = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")
SHORT_SHA = re.compile(r"[0-9a-f]{7,63}")
LENGTH_OF_SHA1 = 40
LONGEST_REF = 1000
TRUSTING = Path(__file__).with_name("any_owner.gitconfig")

_ENVIRONMENT = {
    "PATH": SEARCH_PATH,
    "HOME": "/nonexistent",  # no .netrc, no .gitconfig
    "LC_ALL": "C",  # the sentences of `git_failures` are the English ones
    "GIT_CONFIG_NOSYSTEM": "1",
    "GIT_CONFIG_GLOBAL": "/dev/null",
    "GIT_ATTR_NOSYSTEM": "1",
    "GIT_TERMINAL_PROMPT": "0",
    "GIT_ASKPASS": "/bin/false",
    "GIT_NO_REPLACE_OBJECTS": "1",
}
_SETTINGS = {
    "core.hooksPath": "/dev/null",
    "core.fsmonitor": "false",
    "gc.auto": "0",
    "maintenance.auto": "false",
    "submodule.recurse": "false",
    "transfer.fsckObjects": "true",
    "transfer.bundleURI": "false",  # the server may not point us to other servers
    "transfer.credentialsInUrl": "die",
    "protocol.version": "2",  # serves any commit by its SHA
    "protocol.allow": "never",
    "credential.helper": "",
    # Followed, a redirect would carry the token to whatever host it names.
    "http.followRedirects": "false",
    # Below this speed for this long, the server counts as hanging.
    "http.lowSpeedLimit": "1000",
    "http.lowSpeedTime": "30",
}
_HOST = re.compile(r"[A-Za-z0-9][A-Za-z0-9.-]*|\[[0-9A-Fa-f:]+\]")
# What `git check-ref-format` refuses; `*`, `:` and `^` would mean something in a refspec.
_IMPOSSIBLE_IN_REF = re.compile(
    r"[\x00-\x20\x7f~^:?*\[\\\ud800-\udfff]|\.\.|@\{|//|/\.|\.lock(/|\Z)|[./]\Z"
)


def environment(settings: Mapping[str, str] | None = None) -> dict[str, str]:
    """Give the whole environment of one git command, with further git settings in it."""
    every = {**_SETTINGS, **(settings or {})}
    found = {**_ENVIRONMENT, "GIT_CONFIG_COUNT": str(len(every))}
    for number, (key, value) in enumerate(every.items()):
        found[f"GIT_CONFIG_KEY_{number}"] = key
        found[f"GIT_CONFIG_VALUE_{number}"] = value
    return found


def network_settings(remote: Remote, allowed_schemes: tuple[str, ...]) -> dict[str, str]:
    """Give the settings that let one command reach one remote, and send the token only there."""
    settings = {f"protocol.{scheme}.allow": "always" for scheme in allowed_schemes}
    parts = urlsplit(remote.url)
    if remote.token is not None and parts.scheme in {"http", "https"}:
        pair = f"x-access-token:{remote.token.get_secret_value()}".encode()
        header = f"Authorization: Basic {base64.b64encode(pair).decode()}"
        settings[f"http.{parts.scheme}://{parts.netloc}/.extraHeader"] = header
    return settings


def network_environment(remote: Remote, allowed_schemes: tuple[str, ...]) -> dict[str, str]:
    """Give the whole environment of one command that reaches one remote."""
    found = environment(network_settings(remote, allowed_schemes))
    if urlsplit(remote.url).scheme == "file":
        # The git that serves a repository on this machine hears of no other setting; without this
        # one it refuses a repository that belongs to another user than the one who reads it.
        found["GIT_CONFIG_GLOBAL"] = str(TRUSTING)
    return found


def check_url(url: str, allowed_schemes: tuple[str, ...]) -> None:
    """Make sure that git may be given this URL.

    Raises:
        CheckoutError: another scheme, no usable host, or a password inside. The URL is not quoted.
    """
    try:
        parts = urlsplit(url)
        usable = _is_usable(parts)
    except ValueError:
        usable = False
    if not usable or not url.isascii() or not url.isprintable() or " " in url:
        raise CheckoutError("the repository's git URL cannot be used; set one like https://…/….git")
    if parts.scheme not in allowed_schemes:
        raise CheckoutError(
            f"the repository's git URL begins with {parts.scheme or 'no scheme'}; "
            f"allowed here: {', '.join(allowed_schemes)}"
        )
    if "@" in parts.netloc:
        raise CheckoutError(
            "the repository's git URL has a user name or password in it; "
            "take it out and set the repository's token"
        )


def _is_usable(parts: SplitResult) -> bool:
    if parts.scheme == "file":
        return not parts.netloc and parts.path.startswith("/")
    if parts.scheme not in {"http", "https"}:
        return True
    address = parts.netloc.rpartition("@")[2]
    host = address if address.endswith("]") else re.sub(r":\d{1,5}$", "", address)
    # Reading the port makes sure it is one.
    is_host = _HOST.fullmatch(host) is not None and not is_metadata(host)
    return is_host and parts.port != 0


def repository_name(url: str) -> str:
    """Give the last two parts of a URL's path, for sentences: "octo/web"."""
    path = PurePosixPath(urlsplit(url).path.strip("/").removesuffix(".git"))
    return "/".join(path.parts[-2:])


def is_full_ref(ref: str) -> bool:
    """Whether this can be the full name of a branch or tag, and of one only."""
    short_enough = len(ref) <= LONGEST_REF
    return short_enough and ref.startswith("refs/") and not _IMPOSSIBLE_IN_REF.search(ref)


def object_format(sha: str) -> str:
    """Give git's name for the hash a full SHA was made by."""
    return "sha1" if len(sha) == LENGTH_OF_SHA1 else "sha256"


def clean_folder(folder: str) -> str:
    """Give a folder's path as git writes it, "" for the whole tree.

    Raises:
        CheckoutError: the folder is not inside the repository.
    """
    path = PurePosixPath(folder)
    if path.is_absolute() or ".." in path.parts or not folder.isprintable():
        raise CheckoutError("the context must be a folder inside the repository, like . or web/app")
    return "" if path == PurePosixPath() else str(path)


def make_mirror(mirror: Path, hash_name: str) -> list[str]:
    """Make an empty bare repository without any template."""
    options = ["--quiet", "--bare", "--template=", f"--object-format={hash_name}"]
    return ["init", *options, str(mirror)]


def fetch(mirror: Path, url: str, sha: str) -> list[str]:
    """Fetch one commit without its history, and keep it under a ref of its own."""
    options = ["--quiet", "--no-tags", "--depth=1", "--no-write-fetch-head"]
    return [*_in(mirror), "fetch", *options, "--end-of-options", url, f"+{sha}:{kept_ref(sha)}"]


def list_remote(url: str, ref: str) -> list[str]:
    """Ask a server for one ref and, of an annotated tag, for the commit behind it."""
    return ["ls-remote", "--quiet", "--end-of-options", url, ref, f"{ref}^{{}}"]


def resolve_commit(mirror: Path, sha: str) -> list[str]:
    """Give the commit behind what is kept under a SHA."""
    return [*_in(mirror), "rev-parse", "--quiet", "--verify", f"{kept_ref(sha)}^{{commit}}"]


def keep_commit(mirror: Path, sha: str) -> list[str]:
    """Keep a commit the mirror has under a ref of its own."""
    return [*_in(mirror), "update-ref", kept_ref(sha), sha]


def read_commit(mirror: Path, sha: str) -> list[str]:
    """Print the commit behind what is kept under a SHA, as git stores it."""
    return [*_in(mirror), "cat-file", "commit", f"{kept_ref(sha)}^{{commit}}"]


def list_tree(mirror: Path, sha: str, folder: str) -> list[str]:
    """List every file below a folder with mode, id and size."""
    tree = f"{sha}:{folder}" if folder else sha
    return [*_in(mirror), "ls-tree", "-r", "-z", "-l", "--full-tree", "--end-of-options", tree]


def serve_blobs(mirror: Path) -> list[str]:
    """Answer each object id on standard input with the object."""
    return [*_in(mirror), "cat-file", "--batch"]


def read_blob(mirror: Path, blob: str) -> list[str]:
    """Print one blob."""
    return [*_in(mirror), "cat-file", "blob", blob]


def kept_ref(sha: str) -> str:
    """Give the ref that keeps what was fetched by a SHA."""
    return f"refs/keystone/{sha}"


def _in(mirror: Path) -> list[str]:
    return [f"--git-dir={mirror}"]
