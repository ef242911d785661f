"""The demo's developer: a repository with the sample app, and a commit for each version."""

import os
import shutil
import stat
import subprocess
from dataclasses import dataclass
from importlib.resources import as_file, files
from pathlib import Path

from jobs.errors import ConfigurationError, PlatformError

DOCKERFILE = """\
FROM scratch
COPY hello version.txt /
CMD ["/hello"]
"""
BRANCH = "main"
PATIENCE_S = 60
NO_COMMIT = "0" * 40
# The demo ignores the machine's and the user's git configuration.
GIT_ENVIRONMENT = {
    "GIT_CONFIG_GLOBAL": os.devnull,
    "GIT_CONFIG_NOSYSTEM": "1",
    "GIT_AUTHOR_NAME": "Ada Lovelace",
    "GIT_AUTHOR_EMAIL": "ada@keystone.invalid",
    "GIT_COMMITTER_NAME": "Ada Lovelace",
    "GIT_COMMITTER_EMAIL": "ada@keystone.invalid",
}


@dataclass(frozen=True)
class Change:
    """A pushed commit and the one before it."""

    before: str
    sha: str
    message: str


class Sample:
    """The sample app's repository, on disk.

    Args:
        readers: the id of a group that may read it; None: only its owner may.
    """

    def __init__(self, folder: Path, readers: int | None = None) -> None:
        self._folder = folder
        self._readers = readers

    @property
    def url(self) -> str:
        """The URL to clone the repository from."""
        return self._folder.as_uri()

    def prepare(self) -> None:
        """Create the repository and compile the app into it, if that is not done yet.

        Raises:
            ConfigurationError: there is no C compiler.
            PlatformError: the compiler or git failed.
        """
        self._folder.mkdir(parents=True, exist_ok=True)
        if not (self._folder / ".git").exists():
            self._git("init", "--quiet", f"--initial-branch={BRANCH}")
        if not (self._folder / "hello").exists():
            self._compile()
        (self._folder / "Dockerfile").write_text(DOCKERFILE, encoding="utf-8")

    def commit(self) -> Change:
        """Commit the next version of the app."""
        before = self._git("rev-parse", "--quiet", "--verify", "HEAD", check=False)
        number = int(self._git("rev-list", "--count", "HEAD")) + 1 if before else 1
        message = f"Say that this is version {number}"
        (self._folder / "version.txt").write_text(f"version {number}\n", encoding="utf-8")
        self._git("add", "--all")
        self._git("commit", "--quiet", f"--message={message}")
        self._share()
        return Change(before or NO_COMMIT, self._git("rev-parse", "HEAD"), message)

    def _share(self) -> None:
        if self._readers is None:
            return
        for path in (self._folder, *self._folder.rglob("*")):
            os.chown(path, -1, self._readers)
            rights = stat.S_IMODE(path.stat().st_mode)
            # Copy the owner's read and execute bits to the group.
            path.chmod(rights | ((rights & (stat.S_IRUSR | stat.S_IXUSR)) >> 3))

    def _compile(self) -> None:
        compiler = shutil.which("gcc") or shutil.which("cc")
        if compiler is None:
            raise ConfigurationError(
                "the sample app needs a C compiler: `apt-get install gcc libc6-dev`"
            )
        with as_file(files("jobs.demo") / "hello.c") as source:
            binary = str(self._folder / "hello")
            self._run(compiler, "-Os", "-static", "-s", "-o", binary, str(source))

    def _git(self, *arguments: str, check: bool = True) -> str:
        git = shutil.which("git")
        if git is None:
            raise ConfigurationError("git is not installed: `apt-get install git`")
        return self._run(git, *arguments, check=check)

    def _run(self, *command: str, check: bool = True) -> str:
        done = subprocess.run(  # noqa: S603 — our own words, no shell
            command,
            cwd=self._folder,
            env=os.environ | GIT_ENVIRONMENT,
            capture_output=True,
            text=True,
            timeout=PATIENCE_S,
            check=False,
            encoding="utf-8",
            errors="replace",
        )
        if check and done.returncode != 0:
            raise PlatformError(f"{command[0]} failed: {done.stderr.strip()[-500:]}")
        return done.stdout.strip()
