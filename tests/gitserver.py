"""A real git server: Python's HTTP server before `git http-backend`, with Basic authentication.

    with GitServer(tmp_path, token="ghp_…") as server:
        repo = server.repository("octo/web")
        sha = repo.commit({"Dockerfile": "FROM scratch", "run": Executable(b"…")})
        source.fetch(Remote(1, repo.url, SecretStr("ghp_…")), ref="refs/heads/main", …)

Faults are scripted with `server.fail(Fault(status=503))` and end with `server.heal()`.
"""

import base64
import hmac
import os
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from tests.recorder import Answer, Fault, RecordingServer, Request

__all__ = ["Executable", "Fault", "GitServer", "Link", "Removed", "Repo", "Submodule"]

GIT_TIMEOUT_S = 120
_ENVIRONMENT = {
    "PATH": os.defpath,
    "HOME": "/nonexistent",
    "LC_ALL": "C",
    "GIT_CONFIG_NOSYSTEM": "1",
    "GIT_CONFIG_GLOBAL": "/dev/null",
}


@dataclass(frozen=True)
class Executable:
    """A file with the execute bit."""

    content: bytes


@dataclass(frozen=True)
class Link:
    """A symbolic link."""

    target: str


@dataclass(frozen=True)
class Submodule:
    """A folder that stands for a commit of another repository."""

    sha: str


@dataclass(frozen=True)
class Removed:
    """A file that is not there any more."""


Content = str | bytes | Executable | Link | Submodule | Removed


class Repo:
    """A bare repository on disk, written without a work tree."""

    def __init__(self, path: Path, url: str = "", *, object_format: str = "sha1") -> None:
        self.path = path
        self.url = url or f"file://{path}"
        git("init", "--quiet", "--bare", f"--object-format={object_format}", str(path))
        self.git("symbolic-ref", "HEAD", "refs/heads/main")

    def git(self, *arguments: str, stdin: bytes = b"") -> str:
        """Run git in the repository and give what it printed, without the last newline."""
        return git(f"--git-dir={self.path}", *arguments, stdin=stdin)

    def commit(
        self,
        files: Mapping[str, Content],
        *,
        message: str = "Change something",
        branch: str = "main",
        author: str = "Ada Lovelace <ada@example.org>",
        fresh: bool = False,
    ) -> str:
        """Put a commit with these files on top of the branch, and give its SHA.

        Args:
            fresh: begin the branch anew, as a force-push would: no parent, only these files.
        """
        ref = f"refs/heads/{branch}"
        parent = None if fresh else self.head(branch)
        stream = b"".join(_fast_import(ref, files, message, author, parent))
        self.git("fast-import", "--quiet", "--force", stdin=stream)
        found = self.head(branch)
        assert found is not None
        return found

    def head(self, branch: str = "main") -> str | None:
        """Give the commit a branch points to."""
        found = self.git("for-each-ref", "--format=%(refname) %(objectname)", "refs/heads/")
        heads = dict(line.rsplit(" ", 1) for line in found.splitlines())
        return heads.get(f"refs/heads/{branch}")

    def point(self, ref: str, sha: str) -> None:
        """Make or move a full ref: a new branch, a light tag, a force-push."""
        self.git("update-ref", ref, sha)

    def delete(self, ref: str) -> None:
        """Remove a full ref."""
        self.git("update-ref", "-d", ref)

    def tag(self, name: str, sha: str, *, message: str = "A version") -> str:
        """Make an annotated tag and give the SHA of the tag object."""
        head = f"object {sha}\ntype commit\ntag {name}\n"
        content = f"{head}tagger Ada <ada@example.org> 1700000000 +0000\n\n{message}\n"
        made = self.git("hash-object", "-t", "tag", "-w", "--stdin", stdin=content.encode())
        self.point(f"refs/tags/{name}", made)
        return made

    def collect_garbage(self) -> None:
        """Drop every object that no ref leads to."""
        self.git("gc", "--quiet", "--prune=now")


class GitServer(RecordingServer):
    """Serves the repositories below a folder by git's smart HTTP protocol.

    Args:
        root: where the repositories are made.
        token: what clients must send as the password of `x-access-token`; None: everyone may read.
    """

    def __init__(self, root: Path, *, token: str | None = None) -> None:
        super().__init__()
        self.root = root
        self.token = token

    def repository(self, full_name: str, *, object_format: str = "sha1") -> Repo:
        """Make an empty repository and serve it at `{url}/{full_name}.git`."""
        path = self.root / f"{full_name}.git"
        path.parent.mkdir(parents=True, exist_ok=True)
        return Repo(path, f"{self.url}/{full_name}.git", object_format=object_format)

    def answer(self, request: Request) -> Answer:
        """Check the token and have git answer."""
        if not self._may_read(request):
            return Answer(401, {"WWW-Authenticate": 'Basic realm="git"'}, b"who is there?\n")
        return _parse_cgi(self._backend(request))

    def _may_read(self, request: Request) -> bool:
        if self.token is None:
            return True
        wanted = base64.b64encode(f"x-access-token:{self.token}".encode()).decode()
        return hmac.compare_digest(request.authorization or "", f"Basic {wanted}")

    def _backend(self, request: Request) -> bytes:
        environment = {
            **_ENVIRONMENT,
            "GIT_PROJECT_ROOT": str(self.root),
            "GIT_HTTP_EXPORT_ALL": "1",
            "GIT_CONFIG_COUNT": "1",
            "GIT_CONFIG_KEY_0": "safe.directory",
            "GIT_CONFIG_VALUE_0": "*",
            "GIT_PROTOCOL": request.headers.get("git-protocol", ""),
            "PATH_INFO": request.path,
            "QUERY_STRING": request.query,
            "REQUEST_METHOD": request.method,
            "CONTENT_TYPE": request.headers.get("content-type", ""),
            "CONTENT_LENGTH": str(len(request.body)),
            "HTTP_CONTENT_ENCODING": request.headers.get("content-encoding", ""),
        }
        return subprocess.run(
            ["git", "http-backend"],
            env=environment,
            input=request.body,
            capture_output=True,
            timeout=GIT_TIMEOUT_S,
            check=False,
        ).stdout


def git(*arguments: str, stdin: bytes = b"") -> str:
    """Run git with an environment of its own; fails with what git complained about."""
    finished = subprocess.run(
        ["git", *arguments],
        env=_ENVIRONMENT,
        input=stdin,
        capture_output=True,
        timeout=GIT_TIMEOUT_S,
        check=False,
    )
    assert finished.returncode == 0, finished.stderr.decode("utf-8", "replace")
    return finished.stdout.decode().removesuffix("\n")


def _fast_import(
    ref: str, files: Mapping[str, Content], message: str, author: str, parent: str | None
) -> list[bytes]:
    stream = [
        f"commit {ref}\nauthor {author} 1700000000 +0000\n".encode(),
        b"committer Ada Lovelace <ada@example.org> 1700000000 +0000\n",
        _data(message.encode()),
    ]
    if parent is not None:
        stream.append(f"from {parent}\n".encode())
    else:
        stream.append(b"deleteall\n")
    stream += [_change(path.encode("utf-8", "surrogateescape"), c) for path, c in files.items()]
    return stream


def _change(path: bytes, content: Content) -> bytes:
    match content:
        case Removed():
            return b"D " + path + b"\n"
        case Submodule(sha):
            return b"M 160000 " + sha.encode() + b" " + path + b"\n"
        case Link(target):
            return b"M 120000 inline " + path + b"\n" + _data(target.encode())
        case Executable(raw):
            return b"M 100755 inline " + path + b"\n" + _data(raw)
        case str():
            return b"M 100644 inline " + path + b"\n" + _data(content.encode())
        case bytes():
            return b"M 100644 inline " + path + b"\n" + _data(content)


def _data(content: bytes) -> bytes:
    return b"data " + str(len(content)).encode() + b"\n" + content + b"\n"


def _parse_cgi(output: bytes) -> Answer:
    head, _, body = output.partition(b"\r\n\r\n")
    pairs = (line.split(": ", 1) for line in head.decode("latin-1").splitlines())
    headers = {pair[0]: pair[1] for pair in pairs if len(pair) == 2}
    status = headers.pop("Status", "200" if head else "500").split(" ", 1)[0]
    return Answer(int(status), headers, body)
