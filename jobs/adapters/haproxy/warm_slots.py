"""The part of the router's adapter that asks warm slots for old assets; see `assets`."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager

from jobs.adapters.haproxy import assets
from jobs.adapters.haproxy.config import backend_name
from jobs.adapters.haproxy.domains import map_changes, show_map
from jobs.adapters.haproxy.files import RouterFiles
from jobs.adapters.haproxy.server_table import addresses, live, rows, server_names
from jobs.rules.container_values import Warm


class WarmSlots(ABC):
    """The verbs for warm slots."""

    _ask: Callable[..., str]

    def warm(self, warm: Warm) -> None:
        """Ask a slot for the old assets of its port, and send no other request to it. Idempotent.

        The slot may be the live one, shortly before a switch away from it: then it stays live.

        Raises:
            RouterError: the address is invalid, or the router does not answer or did not do it.
        """
        server, _ = server_names(warm.port, warm.slot)
        with self._changing() as files:
            state = self._ask(f"show servers state {backend_name(warm.port)}")
            if warm.slot not in [route.slot for route in live(rows(state))]:
                self._ask(*assets.warm_commands(server, warm))
            self._fill_assets(warm.port, assets.map_entries(warm))
            if files:
                files.warm(warm)

    def cool(self, port: int) -> None:
        """Ask no slot of the port for old assets any more. An unknown port is fine.

        Raises:
            RouterError: the router does not answer or did not do it.
        """
        with self._changing() as files:
            self._fill_assets(port, {})
            if files:
                files.cool(port)

    def warmed(self) -> dict[int, Warm]:
        """Give the slots that are asked for old assets, by port.

        Where the router and its files differ, the address is empty, so that it equals no real one.

        Raises:
            RouterError: the router does not answer.
        """
        with self._looking() as files:
            entries = show_map(self._ask, assets.ASSETS) or {}
            answer = self._ask("show servers state") if entries else ""
            written = files.warmed() if files else None
        found = assets.found_warm(entries, addresses(rows(answer)))
        return found if written is None else assets.settled(found, written)

    def _fill_assets(self, port: int, wanted: Mapping[str, str]) -> None:
        entries = show_map(self._ask, assets.ASSETS) or {}
        changed = assets.changed_entries(port, entries, wanted)
        self._fill(self._ask, assets.ASSETS, changed)
        for commands in map_changes(assets.ASSETS, entries, changed):
            self._ask_older(commands)

    @abstractmethod
    def _changing(self) -> AbstractContextManager[RouterFiles | None]:
        """Hold the lock of the files, and give those that exist."""

    @abstractmethod
    def _looking(self) -> AbstractContextManager[RouterFiles | None]:
        """Wait until no change is under way, and give the files that exist."""

    @abstractmethod
    def _ask_older(self, commands: Iterable[str]) -> list[str]:
        """Ask all workers from before the last reloads."""

    @abstractmethod
    def _fill(self, ask: Callable[..., str], name: str, wanted: Mapping[str, str]) -> None:
        """Change a map to the wanted entries."""
