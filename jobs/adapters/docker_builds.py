"""An image by the best builder an engine has, with this machine's registry logins.

The logins are read anew for each build, so that a `docker login` takes effect at once. No log line
and no reason of a failure carries one.
"""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from pydantic import SecretStr

from jobs.adapters.buildkit.client import BuildKit, NoSessionError
from jobs.adapters.buildkit.transport import Address
from jobs.adapters.classic_build import ClassicBuilder
from jobs.adapters.docker_logins import LARGEST_CONFIG, Login, Logins, parse_logins
from jobs.adapters.ports import BuildSpec, LogLine, Tree
from jobs.errors import BuildError, ConfigurationError, DockerError
from jobs.naming import seal_of
from jobs.redaction import Redactor
from jobs.stopping import StopSignal

OLDEST_WITH_SESSIONS = (1, 39)  # of the Engine API


@dataclass(frozen=True)
class Builder:
    """Builds images on one engine.

    Attributes:
        api_version: the version of the Engine API that was agreed on.
        config: the docker command line's configuration, with its logins; None: there is none.
    """

    address: Address
    api_version: str
    config: Path | None = None

    def build(self, spec: BuildSpec, tree: Tree, *, log: LogLine, stop: StopSignal) -> str | None:
        """Build an image and give its id; None when the engine tells nothing but the tag.

        Raises:
            BuildError: the build failed or took longer than its deadline.
            DockerError: the engine failed.
        """
        logins = read_logins(self.config, log)
        passwords = [password for _, password in logins.by_key().values()]
        # The builder names the image that it makes: only its own app may know the whole tag.
        redact = Redactor([*passwords, SecretStr(seal_of(spec.tag))])

        def say(line: str) -> None:
            log(redact(line))

        def find_login(host: str) -> Login | None:
            found = logins.find(host)
            if found.problem:
                say(f"the login for {host} {found.problem}")
            return found.login

        with _redacted(redact):
            if self._has_sessions():
                with suppress(NoSessionError):
                    kit = BuildKit(self.address, self.api_version, spec.secrets, find_login)
                    return kit.build(spec, tree, log=say, stop=stop)
            older = ClassicBuilder(self.address, self.api_version, logins.by_key())
            older.build(spec, tree, log=say, stop=stop)
        return None

    def _has_sessions(self) -> bool:
        return tuple(map(int, self.api_version.split("."))) >= OLDEST_WITH_SESSIONS


def read_logins(config: Path | None, log: LogLine) -> Logins:
    """Read the logins; there are none, and the log says why, when the file cannot be used."""
    try:
        if config is None or not config.exists():
            return Logins()
        with config.open("rb") as file:
            content = file.read(LARGEST_CONFIG + 1)
        return parse_logins(content)
    except OSError as exc:
        log(f"no registry logins: {config} cannot be read ({exc.strerror})")
    except ConfigurationError as exc:
        log(f"no registry logins: {config} cannot be used, {exc}")
    return Logins()


@contextmanager
def _redacted(redact: Redactor) -> Iterator[None]:
    try:
        yield
    except (BuildError, DockerError) as exc:
        told = str(exc)
        if redact(told) == told:
            raise
        raise type(exc)(redact(told)) from None
