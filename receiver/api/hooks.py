"""/api/apps/{app}/hook: the webhook on GitHub, which the watcher installs."""

import time
from functools import partial
from typing import Any

from starlette.concurrency import run_in_threadpool

from jobs.processes.bus import ERRANDS
from jobs.reads.apps import find_app
from jobs.reads.views import HookView
from jobs.states import Role
from receiver.api.questions import Questions
from receiver.routing import Call, Endpoints, Nothing

ENDPOINTS = Endpoints()

# Longer than the watcher's own timeout for GitHub, shorter than the longest wait on Redis.
PATIENCE_S = 14.0


@ENDPOINTS.add("POST", "/api/apps/{app}/hook", needs=Role.ADMIN, errors=(409, 502))
async def install_hook(call: Call[Nothing]) -> HookView:
    """Create the webhook of the app's repository on GitHub, or correct the existing one.

    The repository's token needs Webhooks: read and write (a classic one admin:repo_hook). If GitHub
    refuses, the answer is 502 with GitHub's own message.
    """
    app_id = await run_in_threadpool(_app_id, call)
    errands: Questions = call.request.app.state.errands
    return HookView.model_validate(await errands.ask(partial(_install, call, app_id)))


def _app_id(call: Call[Nothing]) -> int | None:
    with call.reading() as session:
        return find_app(session, call.name()).id


def _install(call: Call[Nothing], app_id: int | None) -> dict[str, Any]:
    actor = call.actor
    return call.runtime.bus.ask(
        "install_hook",
        line=ERRANDS,
        timeout_s=PATIENCE_S,
        app_id=app_id,
        actor=[actor.kind, actor.name, actor.address],
        until=time.time() + PATIENCE_S,
    )
