"""Answers the web process's questions about containers: their current state and last output.

It also runs errands at GitHub, which the web process cannot reach.
"""

import time
from collections.abc import Callable
from dataclasses import asdict
from functools import lru_cache
from typing import Any

from pydantic import SecretStr

from jobs.adapters.ports import Forge
from jobs.deployment.work import Tools
from jobs.duties.containers import describe, note_container
from jobs.duties.install_hook import install_hook
from jobs.errors import KeystoneError, NotFoundError
from jobs.processes.bus import ERRANDS, Question
from jobs.processes.runtime import Runtime
from jobs.reads.variables import open_variables
from jobs.reads.views import ContainerView
from jobs.rules.actors import Actor
from jobs.rules.container_values import Container
from jobs.rules.log_lines import shown
from jobs.rules.redaction import Redactor
from jobs.rules.variables import secrets_of
from jobs.settings import WorkerSettings
from jobs.states import ActorKind, ContainerState
from jobs.storage.environments import open_environment
from jobs.storage.models import App, Release

WAIT_S = 2.0
MOST_LINES = 5000
MOST_REDACTORS = 16


def answer_next(runtime: Runtime[WorkerSettings], tools: Tools) -> None:
    """Answer one question, or return when none arrives within `WAIT_S`."""
    question = runtime.bus.next_question(timeout_s=WAIT_S)
    if question is not None:
        _answer(runtime, question, lambda: ANSWERS[question.kind](runtime, tools, question))


def do_next_errand(runtime: Runtime[WorkerSettings], forge: Forge) -> None:
    """Run one errand, or return when none arrives within `WAIT_S`.

    An errand past its deadline is dropped, because nobody waits for its result any more.
    """
    errand = runtime.bus.next_question(timeout_s=WAIT_S, line=ERRANDS)
    if errand is not None and errand.about["until"] > time.time():
        _answer(runtime, errand, lambda: ERRANDS_BY_KIND[errand.kind](runtime, forge, errand))


def _answer(
    runtime: Runtime[WorkerSettings], question: Question, find: Callable[[], dict[str, Any]]
) -> None:
    try:
        answer = find()
    except KeystoneError as exc:
        answer = {"error": str(exc), "kind": type(exc).__name__}
    runtime.bus.answer(question, answer)


def container_now(
    runtime: Runtime[WorkerSettings], tools: Tools, question: Question
) -> dict[str, Any]:
    """Describe an app's live container, and update the state stored with the app."""
    app = _app(runtime, question)
    found = tools.engine.inspect(app.live_container_id) if app.live_container_id else None
    if found is not None:
        note_container(runtime, app, found)
    return view(found).model_dump(mode="json")


def container_output(
    runtime: Runtime[WorkerSettings], tools: Tools, question: Question
) -> dict[str, Any]:
    """Return the last lines that an app's live container wrote."""
    app = _app(runtime, question)
    if app.live_container_id is None:
        raise NotFoundError(f"{app.name} has no live container; deploy it first")
    lines = tools.engine.output(
        app.live_container_id,
        tail=min(int(question.about["tail"]), MOST_LINES),
        after=str(question.about.get("after", "")),
    )
    redact = _redactor(runtime, app)
    return {"lines": [(line.at, shown(line.text, redact)) for line in lines]}


def _redactor(runtime: Runtime[WorkerSettings], app: App) -> Redactor:
    """Make a redactor for the secret variables of the live release and of the next one."""
    with runtime.database.reading() as session:
        release = session.get(Release, app.live_release_id)
        told = open_variables(session, app, runtime.vault)
    variables = [*told.values()]
    if release is not None:
        variables += open_environment(release.environment, runtime.vault).values()
    return _redactor_of(frozenset(secrets_of(variables)))


@lru_cache(maxsize=MOST_REDACTORS)
def _redactor_of(secrets: frozenset[SecretStr]) -> Redactor:
    # Making a redactor is slow, and a client that follows the output asks twice a second.
    return Redactor(secrets)


def view(found: Container | None) -> ContainerView:
    """Convert a container to its view."""
    container = found or Container(id="", state=ContainerState.MISSING)
    known = asdict(container)
    return ContainerView(
        **{name: known[name] for name in ContainerView.model_fields.keys() & known.keys() - {"id"}},
        id=container.id or None,
        reason=describe(container),
        since=container.started_at or None,
    )


def _app(runtime: Runtime[WorkerSettings], question: Question) -> App:
    with runtime.database.reading() as session:
        app = session.get(App, question.about["app_id"])
    if app is None:
        raise NotFoundError("the app was removed")
    return app


Answer = Callable[[Runtime[WorkerSettings], Tools, Question], dict[str, Any]]
ANSWERS: dict[str, Answer] = {"container": container_now, "output": container_output}


def hook_installed(
    runtime: Runtime[WorkerSettings], forge: Forge, errand: Question
) -> dict[str, Any]:
    """Install the webhook of an app's repository, on behalf of the actor who asked for it."""
    about = errand.about
    kind, name, address = about["actor"]
    by = Actor(ActorKind(kind), name, address)
    view = install_hook(runtime, forge, app_id=about["app_id"], by=by)
    return view.model_dump(mode="json")


Errand = Callable[[Runtime[WorkerSettings], Forge, Question], dict[str, Any]]
ERRANDS_BY_KIND: dict[str, Errand] = {"install_hook": hook_installed}
