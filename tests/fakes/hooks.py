"""The webhooks of a fake GitHub; part of `FakeForge`."""

import threading
from dataclasses import dataclass
from datetime import datetime

from pydantic import SecretStr

from jobs.errors import GitHubError, GitHubNotFoundError
from jobs.rules.repository_values import (
    ForgeRepository,
    Hook,
    HookDeliveries,
    HookDelivery,
    HookWish,
    InstalledHook,
    KnownRepository,
)
from jobs.storage.models import now


@dataclass(frozen=True)
class FakeAttempt:
    """One attempt of GitHub to send a delivery."""

    about: HookDelivery
    payload: object


class FakeHooks:
    """The webhooks and identities of repositories on GitHub.

    Tests can set `hook_errors`, which the next calls raise one after the other, `hooks` by
    repository name, and `is_cut`. `known` maps the names of existing repositories to their ids,
    and `moved` maps earlier names to present names.
    """

    def __init__(self) -> None:
        self.hook_errors: list[GitHubError] = []
        self.hooks: dict[str, Hook] = {}
        self.wishes: list[HookWish] = []
        self.attempts: list[FakeAttempt] = []
        self.is_cut = False
        self.known: dict[str, int] = {}
        self.moved: dict[str, str] = {}
        self.tokens: list[str] = []
        self._lock = threading.Lock()

    def attempt(
        self, guid: str, payload: object, *, status_code: int = 502, at: datetime | None = None
    ) -> None:
        """Record that GitHub attempted a delivery and received this status."""
        number = len(self.attempts) + 1
        words = f"Invalid HTTP Response: {status_code}" if status_code else "failed to connect"
        about = HookDelivery(number, guid, "push", at or now(), status_code, words)
        self.attempts.append(FakeAttempt(about, payload))

    def identify(self, repository: ForgeRepository, token: SecretStr | None) -> KnownRepository:
        """Give the repository with that id, or without an id the one with that name."""
        self._asked("identify", repository, token)
        name = self.moved.get(repository.full_name, repository.full_name)
        for full_name, github_id in self.known.items():
            is_wanted = full_name.lower() == name.lower()
            if repository.github_id is not None:
                is_wanted = github_id == repository.github_id
            if is_wanted:
                return KnownRepository(github_id, full_name)
        told = f"{repository.full_name} does not exist or the token may not see it"
        raise GitHubNotFoundError(told, permanent=True)

    def hook_at(self, repository: ForgeRepository, url: str, token: SecretStr) -> Hook | None:
        """Give the repository's webhook if it sends to that URL."""
        self._asked("hook_at", repository, token)
        hook = self.hooks.get(repository.full_name)
        return hook if hook and hook.url == url else None

    def deliveries(
        self, repository: ForgeRepository, hook: Hook, token: SecretStr, *, since: datetime
    ) -> HookDeliveries:
        """List the delivery attempts since a time, newest first."""
        assert hook in self.hooks.values()
        self._asked("deliveries", repository, token)
        found = [one.about for one in reversed(self.attempts) if one.about.at >= since]
        return HookDeliveries(tuple(found), is_cut=self.is_cut)

    def payload(
        self, repository: ForgeRepository, hook: Hook, delivery: HookDelivery, token: SecretStr
    ) -> object:
        """Give the payload of a delivery attempt."""
        assert hook in self.hooks.values()
        self._asked("payload", repository, token)
        return next(one.payload for one in self.attempts if one.about.id == delivery.id)

    def install_hook(
        self, repository: ForgeRepository, wish: HookWish, token: SecretStr
    ) -> InstalledHook:
        """Create the repository's webhook unless it exists."""
        self._asked("install_hook", repository, token)
        self.wishes.append(wish)
        there = self.hooks.get(repository.full_name)
        made = there or Hook(41, wish.url)
        self.hooks[repository.full_name] = made
        return InstalledHook(made.id, is_new=there is None)

    def _asked(self, method: str, repository: ForgeRepository, token: SecretStr | None) -> None:
        self._called(method, repository.full_name)
        with self._lock:
            self.tokens.append(token.get_secret_value() if token else "")
            if self.hook_errors:
                raise self.hook_errors.pop(0)

    def _called(self, call: str, about: object = "") -> None:
        """Record the call in the journal and carry out its act; `Scripted` implements it."""
        raise NotImplementedError
