"""The webhooks of a fake GitHub; part of `FakeForge`."""

import threading
from dataclasses import dataclass
from datetime import datetime

from pydantic import SecretStr

from jobs.adapters.ports import (
    ForgeRepository,
    Hook,
    HookDeliveries,
    HookDelivery,
    HookWish,
    InstalledHook,
)
from jobs.errors import GitHubError
from jobs.models import now


@dataclass(frozen=True)
class FakeAttempt:
    """Something GitHub tried to deliver."""

    about: HookDelivery
    payload: object


class FakeHooks:
    """Knobs: `hook_errors`, raised one after the other; `hooks` by repository; `is_cut`."""

    def __init__(self) -> None:
        self.hook_errors: list[GitHubError] = []
        self.hooks: dict[str, Hook] = {}
        self.wishes: list[HookWish] = []
        self.attempts: list[FakeAttempt] = []
        self.is_cut = False
        self.tokens: list[str] = []
        self._lock = threading.Lock()

    def attempt(
        self, guid: str, payload: object, *, status_code: int = 502, at: datetime | None = None
    ) -> None:
        """Have GitHub try to deliver something, and be answered so."""
        number = len(self.attempts) + 1
        words = f"Invalid HTTP Response: {status_code}" if status_code else "failed to connect"
        about = HookDelivery(number, guid, "push", at or now(), status_code, words)
        self.attempts.append(FakeAttempt(about, payload))

    def hook_at(self, repository: ForgeRepository, url: str, token: SecretStr) -> Hook | None:
        """Give the repository's webhook, if it sends there."""
        self._asked("hook_at", repository, token)
        hook = self.hooks.get(repository.full_name)
        return hook if hook and hook.url == url else None

    def deliveries(
        self, repository: ForgeRepository, hook: Hook, token: SecretStr, *, since: datetime
    ) -> HookDeliveries:
        """List the attempts since then, newest first."""
        assert hook in self.hooks.values()
        self._asked("deliveries", repository, token)
        found = [one.about for one in reversed(self.attempts) if one.about.at >= since]
        return HookDeliveries(tuple(found), is_cut=self.is_cut)

    def payload(
        self, repository: ForgeRepository, hook: Hook, delivery: HookDelivery, token: SecretStr
    ) -> object:
        """Give what an attempt brought."""
        assert hook in self.hooks.values()
        self._asked("payload", repository, token)
        return next(one.payload for one in self.attempts if one.about.id == delivery.id)

    def install_hook(
        self, repository: ForgeRepository, wish: HookWish, token: SecretStr
    ) -> InstalledHook:
        """Have a webhook."""
        self._asked("install_hook", repository, token)
        self.wishes.append(wish)
        there = self.hooks.get(repository.full_name)
        made = there or Hook(41, wish.url)
        self.hooks[repository.full_name] = made
        return InstalledHook(made.id, is_new=there is None)

    def _asked(self, method: str, repository: ForgeRepository, token: SecretStr) -> None:
        self._called(method, repository.full_name)
        with self._lock:
            self.tokens.append(token.get_secret_value())
            if self.hook_errors:
                raise self.hook_errors.pop(0)

    def _called(self, call: str, about: object = "") -> None:
        """Write the call into the journal, and act up if told to; a `Scripted` knows how."""
        raise NotImplementedError
