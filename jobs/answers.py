"""What the watcher answers the web process: how a container is now, and what it wrote last."""

from collections.abc import Callable
from dataclasses import asdict
from typing import Any

from jobs.adapters.ports import Container
from jobs.bus import Question
from jobs.containers import describe, note_container
from jobs.environment import open_environment, secrets_of
from jobs.errors import KeystoneError, NotFoundError
from jobs.logs import clean
from jobs.models import App, Release
from jobs.redaction import Redactor
from jobs.runtime import Runtime
from jobs.settings import WorkerSettings
from jobs.states import ContainerState
from jobs.views import ContainerView
from jobs.work import Tools

WAIT_S = 2.0
MOST_LINES = 5000


def answer_next(runtime: Runtime[WorkerSettings], tools: Tools) -> None:
    """Answer one question, or return when there is none for a while."""
    question = runtime.bus.next_question(timeout_s=WAIT_S)
    if question is None:
        return
    try:
        answer = ANSWERS[question.kind](runtime, tools, question)
    except KeystoneError as exc:
        answer = {"error": str(exc)}
    runtime.bus.answer(question, answer)


def container_now(
    runtime: Runtime[WorkerSettings], tools: Tools, question: Question
) -> dict[str, Any]:
    """Describe an app's live container, and bring the app's own state up to date with it."""
    app = _app(runtime, question)
    found = tools.engine.inspect(app.live_container_id) if app.live_container_id else None
    if found is not None:
        note_container(runtime, app, found)
    return view(found).model_dump(mode="json")


def container_output(
    runtime: Runtime[WorkerSettings], tools: Tools, question: Question
) -> dict[str, Any]:
    """Give the last lines an app's live container wrote."""
    app = _app(runtime, question)
    if app.live_container_id is None:
        raise NotFoundError(f"{app.name} has no live container; deploy it first")
    lines = tools.engine.written(
        app.live_container_id,
        tail=min(int(question.about["tail"]), MOST_LINES),
        after=str(question.about.get("after", "")),
    )
    redact = _redactor(runtime, app)
    return {"lines": [(line.at, redact(clean(line.text))) for line in lines]}


def _redactor(runtime: Runtime[WorkerSettings], app: App) -> Redactor:
    """Mask what the live release was told in confidence, should the app repeat it."""
    with runtime.database.reading() as session:
        release = session.get(Release, app.live_release_id)
    if release is None:
        return Redactor()
    return Redactor(secrets_of(open_environment(release.environment, runtime.vault).values()))


def view(found: Container | None) -> ContainerView:
    """Give the form in which a container is shown."""
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
