"""The git commands that Keystone runs, as argument lists and environments. Pure: runs nothing.

All external input follows `--end-of-options`, and no argument contains a secret. The environment is
built from scratch, so that no git configuration, credentials or proxies of the machine or of a user
have any effect.
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
    "LC_ALL": "C",  # `jobs.adapters.git.failures` matches the English messages
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
    "transfer.bundleURI": "false",  # the server must not direct us to other servers
    "transfer.credentialsInUrl": "die",
    "protocol.version": "2",  # serves any commit by its SHA
    "protocol.allow": "never",
    "credential.helper": "",
    # Following a redirect would send the token to any host that the redirect names.
    "http.followRedirects": "false",
    # Below this speed for this long, the server counts as hanging.
    "http.lowSpeedLimit": "1000",
    "http.lowSpeedTime": "30",
}
_HOST = re.compile(r"[A-Za-z0-9][A-Za-z0-9.-]*|\[[0-9A-Fa-f:]+\]")
# The characters that `git check-ref-format` refuses; `*`, `:` and `^` are special in a refspec.
_IMPOSSIBLE_IN_REF = re.compile(
    r"[\x00-\x20\x7f~^:?*\[\\\ud800-\udfff]|\.\.|@\{|//|/\.|\.lock(/|\Z)|[./]\Z"
)


def environment(settings: Mapping[str, str] | None = None) -> dict[str, str]:
    """Give the complete environment of one git command, including more git settings."""
    every = {**_SETTINGS, **(settings or {})}
    found = {**_ENVIRONMENT, "GIT_CONFIG_COUNT": str(len(every))}
    for number, (key, value) in enumerate(every.items()):
        found[f"GIT_CONFIG_KEY_{number}"] = key
        found[f"GIT_CONFIG_VALUE_{number}"] = value
    return found


def network_settings(remote: Remote, allowed_schemes: tuple[str, ...]) -> dict[str, str]:
    """Give the settings for one command to reach one remote and send the token only there."""
    settings = {f"protocol.{scheme}.allow": "always" for scheme in allowed_schemes}
    parts = urlsplit(remote.url)
    if remote.token is not None and parts.scheme in {"http", "https"}:
        pair = f"x-access-token:{remote.token.get_secret_value()}".encode()
        header = f"Authorization: Basic {base64.b64encode(pair).decode()}"
        settings[f"http.{parts.scheme}://{parts.netloc}/.extraHeader"] = header
    return settings


def network_environment(remote: Remote, allowed_schemes: tuple[str, ...]) -> dict[str, str]:
    """Give the complete environment of one command that reaches one remote."""
    found = environment(network_settings(remote, allowed_schemes))
    if urlsplit(remote.url).scheme == "file":
        # The git process that serves a local repository sees no other setting. Without this one,
        # it refuses a repository that belongs to a different user than the reader.
        found["GIT_CONFIG_GLOBAL"] = str(TRUSTING)
    return found


def check_url(url: str, allowed_schemes: tuple[str, ...]) -> None:
    """Check that this URL may be passed to git.

    Raises:
        CheckoutError: a scheme that is not allowed, no usable host, or a password in the URL. The
            message does not quote the URL.
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
    # Reading `parts.port` validates the port.
    is_host = _HOST.fullmatch(host) is not None and not is_metadata(host)
    return is_host and parts.port != 0


def repository_name(url: str) -> str:
    """Give the last two parts of a URL's path, for messages: "octo/web"."""
    path = PurePosixPath(urlsplit(url).path.strip("/").removesuffix(".git"))
    return "/".join(path.parts[-2:])


def is_full_ref(ref: str) -> bool:
    """Whether this is a valid full ref name that can match only one branch or tag."""
    short_enough = len(ref) <= LONGEST_REF
    return short_enough and ref.startswith("refs/") and not _IMPOSSIBLE_IN_REF.search(ref)


def object_format(sha: str) -> str:
    """Give git's name of the hash algorithm of a full SHA."""
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
    """Create an empty bare repository without a template."""
    options = ["--quiet", "--bare", "--template=", f"--object-format={hash_name}"]
    return ["init", *options, str(mirror)]


def fetch(mirror: Path, url: str, sha: str) -> list[str]:
    """Fetch one commit without its history, and keep it under a ref of its own."""
    options = ["--quiet", "--no-tags", "--depth=1", "--no-write-fetch-head"]
    return [*_in(mirror), "fetch", *options, "--end-of-options", url, f"+{sha}:{kept_ref(sha)}"]


def list_remote(url: str, ref: str) -> list[str]:
    """Ask a server for one ref and, if it is an annotated tag, for the tag's commit."""
    return ["ls-remote", "--quiet", "--end-of-options", url, ref, f"{ref}^{{}}"]


def list_tags(url: str) -> list[str]:
    """Ask a server for all tags and, for each annotated tag, for its commit."""
    return ["ls-remote", "--quiet", "--tags", "--end-of-options", url]


def resolve_commit(mirror: Path, sha: str) -> list[str]:
    """Print the commit that the ref kept for a SHA leads to."""
    return [*_in(mirror), "rev-parse", "--quiet", "--verify", f"{kept_ref(sha)}^{{commit}}"]


def keep_commit(mirror: Path, sha: str) -> list[str]:
    """Keep a commit of the mirror under a ref of its own."""
    return [*_in(mirror), "update-ref", kept_ref(sha), sha]


def read_commit(mirror: Path, sha: str) -> list[str]:
    """Print the commit that the ref kept for a SHA leads to, as git stores it."""
    return [*_in(mirror), "cat-file", "commit", f"{kept_ref(sha)}^{{commit}}"]


def list_tree(mirror: Path, sha: str, folder: str) -> list[str]:
    """List every file below a folder with mode, id and size."""
    tree = f"{sha}:{folder}" if folder else sha
    return [*_in(mirror), "ls-tree", "-r", "-z", "-l", "--full-tree", "--end-of-options", tree]


def list_changes(mirror: Path, before: str, after: str) -> list[str]:
    """List the paths that differ between two commits."""
    options = ["-r", "-z", "--name-only", "--no-renames", "--no-ext-diff"]
    return [*_in(mirror), "diff-tree", *options, "--end-of-options", before, after]


def serve_blobs(mirror: Path) -> list[str]:
    """Print the object for each object id on standard input."""
    return [*_in(mirror), "cat-file", "--batch"]


def read_blob(mirror: Path, blob: str) -> list[str]:
    """Print one blob."""
    return [*_in(mirror), "cat-file", "blob", blob]


def kept_ref(sha: str) -> str:
    """Give the ref that keeps the object fetched for a SHA."""
    return f"refs/keystone/{sha}"


def _in(mirror: Path) -> list[str]:
    return [f"--git-dir={mirror}"]
