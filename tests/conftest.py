"""What every room's tests stand on: a clean environment, a real Redis, a real database."""

import gc
import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from argon2 import PasswordHasher
from hypothesis import HealthCheck
from hypothesis import settings as hypothesis_settings
from pydantic import SecretStr
from redis import Redis
from redis.exceptions import RedisError
from starlette.testclient import TestClient

from jobs.processes.runtime import open_runtime
from jobs.records import users
from jobs.settings import WebSettings
from jobs.states import Role
from jobs.storage.database import Database
from jobs.storage.migrations import apply
from jobs.storage.sqlite_files import is_sqlite, sqlite_path, sqlite_url
from receiver.app import create_app
from tests import again
from tests.builders import WebRuntime, make_token

MEASURED = "measured"  # a test's property with a line for whoever runs the tests
REDIS_UP_WITHIN_S = 60
MOST_PROCESSES = 8
LONGEST_ID = 60  # bytes
GARBAGE = 10_000  # objects more than before when the collector looks at the newest; Python's: 700
# Folders and files with much to wait for: they begin first, so that none is left over at the end.
LONGEST = (
    "roots",
    "faults",
    "acceptance",
    "benchmarks",
    "jobs/cli",
    "dashboard",
    "contract",
    "jobs/test_",
)
SECRET_KEY = SecretStr("a key that only the tests use")
GLOBAL_SECRET = SecretStr("the secret of the whole installation")
REAL_HASHER, REAL_NOBODY = users._hasher, users._NOBODY

# Collecting and importing make objects that stay to the end, see `pytest_collection_finish`.
gc.disable()

# First of all: nothing of the machine's own Keystone may leak into a test.
for _name in [name for name in os.environ if name.startswith("KEYSTONE_")]:
    del os.environ[_name]

# An example may take 200 ms, says Hypothesis: a busy machine takes as long as it likes. What
# decides over a change is tried with the same examples each time; at home there are ever new ones.
hypothesis_settings.register_profile(
    "busy",
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
    derandomize="CI" in os.environ,
)
hypothesis_settings.load_profile("busy")


def pytest_configure(config: pytest.Config) -> None:
    """Have the run that CI judges note which tests failed, in the process that hears of all."""
    if not hasattr(config, "workerinput") and (first_run := again.plugin()) is not None:
        config.pluginmanager.register(first_run)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int:
    """Give twice as many processes as processors: tests wait more than they compute."""
    return min(2 * len(os.sched_getaffinity(0)), MOST_PROCESSES)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Put the longest first; within a folder the order stays."""
    here = config.rootpath / "tests"

    def place(item: pytest.Item) -> int:
        path = item.path.relative_to(here).as_posix()
        return next((n for n, begin in enumerate(LONGEST) if path.startswith(begin)), len(LONGEST))

    items.sort(key=place)


def pytest_collection_finish() -> None:
    """Keep the garbage collector from walking through modules and tests again and again.

    They are a million objects that stay to the end: with them each test costs a quarter more.
    """
    gc.enable()
    gc.freeze()
    gc.set_threshold(GARBAGE)


def pytest_make_parametrize_id(val: object, argname: str) -> str | None:
    """Name bytes by their argument: packed ones differ in each process, which must agree on ids."""
    return argname if isinstance(val, bytes) and len(val) > LONGEST_ID else None


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Show what tests have measured, in whichever process they ran."""
    for report in terminalreporter.getreports("passed"):
        for name, told in report.user_properties:
            if name == MEASURED:
                terminalreporter.write_line(str(told))


@pytest.fixture(scope="session")
def redis_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A private Redis on a Unix socket, for the whole run."""
    server = shutil.which("redis-server")
    if server is None:
        pytest.fail("redis-server is not installed; `apt-get install redis-server`")
    folder = tmp_path_factory.mktemp("redis")
    socket = folder / "redis.sock"
    command = [server, "--port", "0", "--unixsocket", str(socket), "--unixsocketperm", "700"]
    command += ["--save", "", "--dir", str(folder), "--logfile", str(folder / "redis.log")]
    process = subprocess.Popen(command)
    try:
        _wait_for_redis(socket, process)
        yield f"unix://{socket}"
    finally:
        process.terminate()
        process.wait(REDIS_UP_WITHIN_S)


def _wait_for_redis(socket: Path, process: "subprocess.Popen[bytes]") -> None:
    end = time.monotonic() + REDIS_UP_WITHIN_S
    while time.monotonic() < end and process.poll() is None:
        try:
            with Redis(unix_socket_path=str(socket)) as redis:
                redis.ping()
        except RedisError:
            time.sleep(0.02)
        else:
            return
    pytest.fail("redis-server did not come up")


@pytest.fixture(scope="session", autouse=True)
def cheap_passwords() -> Iterator[None]:
    """Hash passwords with the least that argon2 allows: the real parameters cost 0.2 s each time.

    Only in pytest's own processes: those that tests start use the real parameters.
    """
    with pytest.MonkeyPatch.context() as patch:
        cheap = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)
        patch.setattr(users, "_hasher", cheap)
        patch.setattr(users, "_NOBODY", cheap.hash("nobody"))
        yield


@pytest.fixture
def real_passwords(monkeypatch: pytest.MonkeyPatch) -> None:
    """Hash passwords as Keystone does, in a test that is about that."""
    monkeypatch.setattr(users, "_hasher", REAL_HASHER)
    monkeypatch.setattr(users, "_NOBODY", REAL_NOBODY)


@pytest.fixture(scope="session", autouse=True)
def migrated_once(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Migrate one SQLite database in each of pytest's processes, and copy it for every other.

    Opening a Keystone where there is none takes 0.2 s less. What is there already is migrated as
    ever, and so is whatever a test of migrations makes by itself.
    """
    template = tmp_path_factory.mktemp("schema") / "keystone.db"

    def ensure_schema(database: Database, *, lock_file: Path) -> None:
        if not template.exists():
            made = Database(sqlite_url(template))
            apply.ensure_schema(made, lock_file=template.with_name("migrate.lock"))
            made.close()
        if is_sqlite(database.url) and not (path := sqlite_path(database.url)).exists():
            with suppress(OSError):
                shutil.copyfile(template, path)
        apply.ensure_schema(database, lock_file=lock_file)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("jobs.processes.runtime.ensure_schema", ensure_schema)
        yield


@pytest.fixture(scope="session")
def empty_database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The database of a new Keystone, to be copied: it has an identity and a key already."""
    folder = tmp_path_factory.mktemp("template")
    settings = WebSettings(data_dir=folder, secret_key=SECRET_KEY)
    open_runtime(settings).database.close()
    return folder / "keystone.db"


@pytest.fixture
def settings(tmp_path: Path, redis_url: str) -> WebSettings:
    """The web process's settings, with a data directory of the test's own."""
    data_dir = tmp_path / "data"
    data_dir.mkdir(mode=0o700)
    return WebSettings(
        data_dir=data_dir,
        redis_url=redis_url,
        secret_key=SECRET_KEY,
        webhook_secret=GLOBAL_SECRET,
        public_url="http://testserver",
    )


@pytest.fixture
def runtime(settings: WebSettings, empty_database: Path) -> Iterator[WebRuntime]:
    """A Keystone with an empty database and an empty Redis."""
    with Redis.from_url(settings.redis_url) as redis:
        redis.flushall()
    shutil.copy(empty_database, settings.data_dir / "keystone.db")
    runtime = open_runtime(settings)
    yield runtime
    runtime.database.close()


@pytest.fixture
def client(runtime: WebRuntime) -> Iterator[TestClient]:
    """A stranger; redirects are shown and not followed, a crash is a 500 as for anybody."""
    app = create_app(runtime)
    with TestClient(app, follow_redirects=False, raise_server_exceptions=False) as client:
        yield client


@pytest.fixture
def viewer(client: TestClient, runtime: WebRuntime) -> TestClient:
    """A program that may read."""
    return _with_token(client, runtime, Role.VIEWER)


@pytest.fixture
def deployer(client: TestClient, runtime: WebRuntime) -> TestClient:
    """A program that may also deploy."""
    return _with_token(client, runtime, Role.DEPLOYER)


@pytest.fixture
def admin(client: TestClient, runtime: WebRuntime) -> TestClient:
    """A program that may do everything."""
    return _with_token(client, runtime, Role.ADMIN)


def _with_token(client: TestClient, runtime: WebRuntime, role: Role) -> TestClient:
    token = make_token(runtime, name=f"the-{role}", role=role)
    return TestClient(
        client.app,
        headers={"Authorization": f"Bearer {token}"},
        follow_redirects=False,
        raise_server_exceptions=False,
    )
