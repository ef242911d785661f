"""In-memory fakes of every external system, with a setting for each way a call can fail.

The fakes implement the interfaces of `jobs.adapters.ports`. `tests/contract/test_fake*.py` run the
same tests on the fakes and on the real adapters.

    world = FakeWorld("ident")
    world.engine.behaviour = Behaviour(exits=1, output=["no such table"])
    world.engine.fail("build", DockerError("the engine is gone"))
    world.router.on("switch", lambda _: cancel_it())
"""

from tests.fakes.engine import Behaviour, FakeEngine
from tests.fakes.forge import FakeForge
from tests.fakes.probe import FakeProbe
from tests.fakes.router import FakeRouter
from tests.fakes.source import FakeRepository, FakeSource
from tests.fakes.world import FakeWorld

__all__ = [
    "Behaviour",
    "FakeEngine",
    "FakeForge",
    "FakeProbe",
    "FakeRepository",
    "FakeRouter",
    "FakeSource",
    "FakeWorld",
]
