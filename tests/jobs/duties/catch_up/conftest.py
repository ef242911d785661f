"""The fixtures of stories about missed pushes."""

import pytest

from jobs.storage.models import App
from tests.jobs.bench import Bench
from tests.jobs.duties.catch_up.scene import Scene


@pytest.fixture
def scene(bench: Bench) -> Scene:
    """A Keystone, and a GitHub without a webhook."""
    return Scene(bench)


@pytest.fixture
def web(bench: Bench) -> App:
    """An app whose repository has a token."""
    return bench.app(token="ghp_own")
