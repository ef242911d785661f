"""The part of the router's adapter that asks warm slots for old assets; see `assets`."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager

from jobs.adapters.haproxy import assets
from jobs.adapters.haproxy.config import backend_name
from jobs.adapters.haproxy.domains import show_map
from jobs.adapters.haproxy.files import RouterFiles
from jobs.adapters.haproxy.patience import patiently
from jobs.adapters.haproxy.server_table import live, rows
from jobs.rules.container_values import Route, Warm


class WarmSlots(ABC):
    """The verbs for warm slots."""

    _ask: Callable[..., str]
    patience_s: float

    @patiently
    def warm(self, warm: Warm) -> None:
        """Ask a container for the old assets of a port. Idempotent.

        Shortly before a switch away from it the container may be the live one. Then its paths are
        added, and the one that is warm now stays so until the switch.

        Raises:
            RouterError: the address is invalid, or the router does not answer or did not do it.
        """
        with self._changing() as files:
            is_live = warm.address == self._live_address(warm.port)
            entries, paths = self._entries(assets.WARM), self._entries(assets.PATHS)
            if not is_live or str(warm.port) not in entries:
                entries = assets.changed_warm(warm.port, entries, warm)
            paths = assets.changed_paths(warm.port, paths, warm.paths, keep=is_live)
            self._fill_all(assets.WARM, entries)
            self._fill_all(assets.PATHS, paths)
            if files:
                files.write_old_assets(paths, entries)

    @patiently
    def cool(self, port: int) -> None:
        """Ask no container for old assets of the port any more. An unknown port is fine.

        Raises:
            RouterError: the router does not answer or did not do it.
        """
        with self._changing() as files:
            entries = assets.changed_warm(port, self._entries(assets.WARM), None)
            paths = assets.changed_paths(port, self._entries(assets.PATHS), ())
            self._fill_all(assets.PATHS, paths)
            self._fill_all(assets.WARM, entries)
            if files:
                files.write_old_assets(paths, entries)

    @patiently
    def warmed(self) -> dict[int, Warm]:
        """Give the containers that are asked for old assets, by port.

        Where the router and its files differ, the address is empty, so that it equals no real one.

        Raises:
            RouterError: the router does not answer.
        """
        with self._looking() as files:
            found = assets.found_warm(self._entries(assets.PATHS), self._entries(assets.WARM))
            return assets.settled(found, files.warmed()) if files else found

    def _turn_warm(self, route: Route) -> list[str]:
        """Give the commands by which a switch makes the former live container the warm one."""
        entries = self._entries(assets.WARM)
        if str(route.port) not in entries:
            return []
        turn = assets.turned(self._live_route(route.port), route, entries)
        return [f"set map {assets.WARM} {key} {value}" for key, value in turn.items()]

    def _live_address(self, port: int) -> str:
        route = self._live_route(port)
        return route.address if route is not None else ""

    def _live_route(self, port: int) -> Route | None:
        answer = self._ask(f"show servers state {backend_name(port)}")
        return next(iter(live(rows(answer))), None)

    def _entries(self, name: str) -> dict[str, str]:
        return show_map(self._ask, name) or {}

    @abstractmethod
    def _changing(self) -> AbstractContextManager[RouterFiles | None]:
        """Hold the lock of the files, and give those that exist."""

    @abstractmethod
    def _looking(self) -> AbstractContextManager[RouterFiles | None]:
        """Wait until no change is under way, and give the files that exist."""

    @abstractmethod
    def _fill_all(self, name: str, wanted: Mapping[str, str]) -> None:
        """Change a map of this worker, and of those from before the last reloads."""
