"""Builds an image with the best builder the engine has, with this machine's registry logins.

Each build reads the logins again, so that a `docker login` takes effect at once. Passwords are
masked in log lines and error messages.
"""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path

from pydantic import SecretStr

from jobs.adapters.buildkit.client import BuildKit, NoSessionError
from jobs.adapters.buildkit.limits import limit_reached
from jobs.adapters.buildkit.transport import Address
from jobs.adapters.cgroups import ControlGroup
from jobs.adapters.docker.classic_build import ClassicBuilder
from jobs.adapters.docker.logins import LARGEST_CONFIG, Login, Logins, parse_logins
from jobs.adapters.docker.ping import OLDEST_WITH_BUILD_GROUPS
from jobs.adapters.ports import BuildLog, Tree
from jobs.errors import BuildError, ConfigurationError, DockerError
from jobs.rules.container_values import BuildSpec
from jobs.rules.log_events import BuildEvent, EventKind
from jobs.rules.log_lines import LastLines
from jobs.rules.naming import seal_of
from jobs.rules.redaction import Redactor
from jobs.rules.stopping import StopSignal

OLDEST_WITH_SESSIONS = (1, 39)  # of the Engine API
TOO_NEW = (
    "this Docker Engine has no BuildKit sessions any more, and its older builder would skip parts "
    "of a Dockerfile without a word; update Keystone, or use an older engine until you can"
)
LAST_LINES = 40  # of a failed build's log; tools print more lines after the reason


@dataclass(frozen=True)
class Builder:
    """Builds images on one engine.

    Attributes:
        api_version: the negotiated version of the Engine API.
        config: the docker CLI's configuration file, which holds the logins; None: there is none.
        is_podman: whether the engine is Podman, whose own builder builds everything it is sent.
    """

    address: Address
    api_version: str
    config: Path | None = None
    is_podman: bool = False

    def build(self, spec: BuildSpec, tree: Tree, *, log: BuildLog, stop: StopSignal) -> str | None:
        """Build an image and give its id; None when the engine does not report the id.

        Raises:
            BuildError: the build failed or took longer than its deadline.
            DockerError: the engine failed.
        """

        def remark(text: str) -> None:
            log(BuildEvent(EventKind.TEXT, text))

        logins = read_logins(self.config, remark)
        passwords = [password for _, password in logins.by_key().values()]
        # The builder prints the image's tag: only the image's own app may know the whole tag.
        redact = Redactor([*passwords, SecretStr(seal_of(spec.tag))])

        last = LastLines(LAST_LINES)

        def tell(event: BuildEvent) -> None:
            last.add(event.shown)
            log(replace(event, text=redact(event.text)))

        def find_login(host: str) -> Login | None:
            found = logins.find(host)
            if found.problem:
                tell(BuildEvent(EventKind.TEXT, f"the login for {host} {found.problem}"))
            return found.login

        with _redacted(redact):
            if self._is_from(OLDEST_WITH_SESSIONS):
                with suppress(NoSessionError), self._limits_told(spec, last):
                    kit = BuildKit(
                        self.address,
                        self.api_version,
                        spec.secrets,
                        find_login,
                        in_cgroup=self._is_from(OLDEST_WITH_BUILD_GROUPS),
                    )
                    return kit.build(spec, tree, log=tell, stop=stop)
                self._refuse_older_builder()
            older = ClassicBuilder(self.address, self.api_version, logins.by_key())
            older.build(spec, tree, log=tell, stop=stop)
        return None

    def _refuse_older_builder(self) -> None:
        """Refuse to build wrong images.

        Docker's older builder takes `COPY --link` and heredocs, but ignores the first and runs an
        empty command instead of the second.
        """
        if not self.is_podman:
            raise DockerError(TOO_NEW)

    @contextmanager
    def _limits_told(self, spec: BuildSpec, last: Iterable[str]) -> Iterator[None]:
        """Add the limit that a build has reached, if any, to the error of the failed build."""
        runs_in_it = spec.is_shared_cgroup or self._is_from(OLDEST_WITH_BUILD_GROUPS)
        if not spec.cgroup or not runs_in_it:
            yield
            return
        group = ControlGroup(spec.cgroup)
        before = group.killed()
        try:
            yield
        except BuildError as exc:
            used_up = group.memory_was_used_up(before)
            told = limit_reached(str(exc), last, spec.limits, memory_was_used_up=used_up)
            if not told:
                raise
            raise BuildError(f"{exc}; {told}") from exc

    def _is_from(self, version: tuple[int, int]) -> bool:
        return tuple(map(int, self.api_version.split("."))) >= version


def read_logins(config: Path | None, log: Callable[[str], None]) -> Logins:
    """Read the logins. If the file is unusable, log the reason and give no logins."""
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
