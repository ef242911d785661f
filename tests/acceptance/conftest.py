"""One Keystone for most modules, with private git servers and a recording GitHub beside it."""

from collections.abc import Generator, Iterator

import pytest

from tests.acceptance.keystone import ADMIN_PASSWORD, Keystone
from tests.acceptance.machine import Machine
from tests.apart import Place, installed
from tests.githubapi import GitHubApi
from tests.gitserver import GitServer

TOKEN = "ghp_Acceptance0Token1With2Thirty3Six4Chars"
LOG_SHOWN = 8000  # characters
RUNNING = pytest.StashKey[Keystone]()


@pytest.fixture(scope="module")
def git_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GitServer]:
    """A git server that requires the token."""
    with GitServer(tmp_path_factory.mktemp("git"), token=TOKEN) as server:
        yield server


@pytest.fixture(scope="session")
def github() -> Iterator[GitHubApi]:
    """GitHub's API, which requires the token."""
    with GitHubApi(token=TOKEN) as api:
        yield api


@pytest.fixture(scope="session")
def place() -> Iterator[Place]:
    """The place where Keystone is installed; for root, its parts run as separate users there."""
    with installed() as place:
        yield place


@pytest.fixture(scope="session")
def keystone(request: pytest.FixtureRequest, place: Place, github: GitHubApi) -> Iterator[Keystone]:
    """A running Keystone, which must leave nothing behind; each module uses its own apps."""
    yield from running(request, prepared(place, github))


@pytest.fixture(scope="session")
def machine(keystone: Keystone) -> Iterator[Machine]:
    """The engine, as an operator of the machine sees it."""
    machine = Machine(keystone)
    yield machine
    machine.close()


def prepared(
    place: Place,
    github: GitHubApi,
    *,
    catch_up_minutes: int = 0,
    admin_password: str = ADMIN_PASSWORD,
) -> Keystone:
    """Make a Keystone with its own folder, without starting it."""
    return Keystone(
        place.make_folder("up"),
        github_api_url=github.url,
        catch_up_minutes=catch_up_minutes,
        admin_password=admin_password,
        program=place.keystone,
    )


def running(request: pytest.FixtureRequest, made: Keystone) -> Iterator[Keystone]:
    """Run a Keystone while the requesting fixture lasts."""
    request.node.stash[RUNNING] = made
    with made:
        yield made


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item,
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Add the log of Keystone's processes to the report of a failed test."""
    report = yield
    holders = [item.getparent(pytest.Module), item.session]
    logs = [holder.stash[RUNNING].log() for holder in holders if holder and RUNNING in holder.stash]
    if report.failed and logs:
        report.sections.append(("keystone up", logs[0][-LOG_SHOWN:]))
    return report
