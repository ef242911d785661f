"""A router that runs, and two apps to lead to."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from jobs.adapters.haproxy_router import HAProxyRouter
from tests.haproxy import RunningRouter, Upstream, running_router


@pytest.fixture
def running(tmp_path: Path) -> Iterator[RunningRouter]:
    with running_router(tmp_path) as router:
        yield router


@pytest.fixture
def router(running: RunningRouter) -> HAProxyRouter:
    return running.adapter


@pytest.fixture
def port(running: RunningRouter) -> int:
    return running.ports[0]


@pytest.fixture
def one() -> Iterator[Upstream]:
    with Upstream("one") as upstream:
        yield upstream


@pytest.fixture
def two() -> Iterator[Upstream]:
    with Upstream("two") as upstream:
        yield upstream
