"""/api/apps/{app}/hook: the webhook on GitHub, which the watcher installs."""

import time

from jobs.bus import ERRANDS
from jobs.queries import find_app
from jobs.views import HookView
from receiver.routing import Call, Nothing

# Above the time that the watcher gives GitHub, below what Redis lets anybody wait.
PATIENCE_S = 14.0


def install_hook(call: Call[Nothing]) -> HookView:
    """Make the webhook of the app's repository on GitHub, or put right the one that is there.

    The repository's token needs Webhooks: read and write (a classic one admin:repo_hook). What
    GitHub refuses is answered 502, in its own words.
    """
    with call.reading() as session:
        app_id = find_app(session, call.name()).id
    actor = call.actor
    answer = call.runtime.bus.ask(
        "install_hook",
        line=ERRANDS,
        timeout_s=PATIENCE_S,
        app_id=app_id,
        actor=[actor.kind, actor.name, actor.address],
        until=time.time() + PATIENCE_S,
    )
    return HookView.model_validate(answer)
