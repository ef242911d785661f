"""The watcher's wish for a reload of the router, when an app's settings need one."""

from pathlib import Path

from jobs.duties.configure_router import configure_router
from jobs.processes.router_server import write_configuration
from jobs.settings import WorkerSettings
from jobs.system.router_files import RELOAD_WANTED
from tests.jobs.bench import Bench


def wish(bench: Bench) -> Path:
    return bench.runtime.settings.router_dir / RELOAD_WANTED


def test_without_a_configuration_nothing_is_asked_for(bench: Bench) -> None:
    bench.app("packed", gzip=True)
    configure_router(bench.runtime)
    assert not wish(bench).exists()


def test_a_reload_is_asked_for_until_the_configuration_has_what_the_apps_want(bench: Bench) -> None:
    write_configuration(bench.runtime)
    configure_router(bench.runtime)
    assert not wish(bench).exists()
    bench.app("packed", gzip=True)
    configure_router(bench.runtime)
    assert wish(bench).exists()
    wish(bench).unlink()
    write_configuration(bench.runtime)
    configure_router(bench.runtime)
    assert not wish(bench).exists()


def test_an_operators_own_router_is_left_alone(bench: Bench) -> None:
    write_configuration(bench.runtime)
    bench.app("packed", gzip=True)
    settings = bench.runtime.settings
    assert isinstance(settings, WorkerSettings)
    own = settings.model_copy(update={"router_socket": "/run/haproxy.sock"})
    object.__setattr__(bench.runtime, "settings", own)
    configure_router(bench.runtime)
    assert not wish(bench).exists()
