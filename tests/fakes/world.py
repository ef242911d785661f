"""All external systems in memory."""

from collections.abc import Collection

from jobs.deployment.work import Tools
from tests.fakes.engine import FakeEngine
from tests.fakes.forge import FakeForge
from tests.fakes.probe import FakeProbe
from tests.fakes.router import FakeRouter
from tests.fakes.source import FakeSource


class FakeWorld:
    """All external systems as fakes that record their calls in one journal."""

    def __init__(self, identity: str, *, ports: Collection[int] = range(20000, 21000)) -> None:
        self.journal: list[str] = []
        self.engine = FakeEngine(identity, self.journal)
        self.source = FakeSource(self.journal)
        self.router = FakeRouter(ports, self.journal)
        self.probe = FakeProbe(self.engine, self.router, self.journal)
        self.forge = FakeForge(self.journal)

    @property
    def tools(self) -> Tools:
        """Give the tools of a deployment that uses these fakes."""
        return Tools(self.engine, self.source, self.router, self.probe)

    def calls(self, *names: str) -> list[str]:
        """Give the recorded calls of these names, in order."""
        return [entry for entry in self.journal if entry.partition(" ")[0] in names]
