"""The outside world in memory: what a deployment needs, with a knob for each way it can go wrong.

The fakes keep the promises of `jobs.adapters.ports`; `tests/contract/test_fake*.py` hold them to
what the real adapters do.

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
