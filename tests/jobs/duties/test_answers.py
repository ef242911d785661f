"""What the watcher answers: how the live container is, and what it wrote, without its secrets."""

from concurrent.futures import ThreadPoolExecutor

import pytest
from pydantic import SecretStr

from jobs.duties.answers import answer_next
from jobs.errors import DockerError, NotFoundError
from jobs.processes.bus import QUESTIONS
from jobs.records.variables import set_variables
from jobs.rules.log_lines import LONGEST_LINE
from jobs.rules.variables import Variable
from jobs.states import ContainerState
from jobs.storage.models import App
from tests.fakes import Behaviour
from tests.jobs.bench import TESTER, Bench, wait_for

PATIENCE_S = 14  # below that of the connection
LONG = "-" * (LONGEST_LINE - len("[REDACTED]"))  # the mask is the last that is shown


@pytest.fixture
def app(bench: Bench) -> App:
    return bench.app()


def ask(bench: Bench, kind: str, *, app_id: int | None, tail: int = 0) -> dict[str, object]:
    bus = bench.runtime.bus
    with ThreadPoolExecutor(1) as pool:
        asked = pool.submit(bus.ask, kind, timeout_s=PATIENCE_S, app_id=app_id, tail=tail)
        # It waits for a question for a moment only.
        wait_for(lambda: bus._redis.llen(f"{bus._prefix}-{QUESTIONS}"))
        answer_next(bench.runtime, bench.world.tools)
        return asked.result()


def test_the_live_container_as_it_is_now(bench: Bench, app: App) -> None:
    done = bench.deploy(app)
    container = bench.container_of(done.id or 0)
    assert ask(bench, "container", app_id=app.id)["state"] == "running"
    bench.world.engine.crash(container, ContainerState.EXITED, exit_code=3)
    assert ask(bench, "container", app_id=app.id)["exit_code"] == 3
    assert bench.fresh(app).container_reason == "its container exited with code 3"


def test_an_app_that_was_never_deployed(bench: Bench, app: App) -> None:
    assert ask(bench, "container", app_id=app.id)["state"] == "missing"
    with pytest.raises(NotFoundError, match="web has no live container"):
        ask(bench, "output", app_id=app.id, tail=10)


def test_what_went_wrong_is_the_answer(bench: Bench, app: App) -> None:
    bench.deploy(app)
    bench.world.engine.down = True
    with pytest.raises(DockerError, match="does not answer"):
        ask(bench, "container", app_id=app.id)
    with pytest.raises(NotFoundError, match="the app was removed"):
        ask(bench, "container", app_id=99)


def set_password(bench: Bench, app: App, password: str) -> None:
    with bench.writing() as session:
        wanted = {"PASSWORD": Variable(SecretStr(password))}
        row = session.get_one(App, app.id)
        set_variables(session, row, wanted, TESTER, vault=bench.runtime.vault)


def output(bench: Bench, app: App) -> list[str]:
    lines = ask(bench, "output", app_id=app.id, tail=100)["lines"]
    assert isinstance(lines, list)
    return [text for _, text in lines]


def test_output_shows_no_secret_however_it_is_dressed_up(bench: Bench, app: App) -> None:
    set_password(bench, app, "hunter2hunter2")
    said = (
        "plain hunter2hunter2",
        "dressed hunter2\x00hunter2",
        "dressed hunter2\x1b[31mhunter2\x1b[0m",
        "dressed hunter2\u200bhunter2",
        f"{LONG}hunter2hunter2",
    )
    bench.world.engine.behaviour = Behaviour(output=said)
    bench.deploy(app)
    # Masked before it is cut: half a secret would not be recognised.
    cut = f"{LONG}[REDACTED]"[:LONGEST_LINE]
    assert output(bench, app) == ["plain [REDACTED]", *["dressed [REDACTED]"] * 3, cut]


def test_output_shows_neither_the_secrets_of_the_live_release_nor_the_next_ones(
    bench: Bench, app: App
) -> None:
    set_password(bench, app, "the-live-one")
    said = ("now the-live-one", "later the-next-one")
    bench.world.engine.behaviour = Behaviour(output=said)
    bench.deploy(app)
    set_password(bench, app, "the-next-one")
    assert output(bench, app) == ["now [REDACTED]", "later [REDACTED]"]


def test_output_has_the_styles_that_pages_know_and_ends_each_line_without(
    bench: Bench, app: App
) -> None:
    bench.world.engine.behaviour = Behaviour(
        output=("\x1b[32mgreen", "\x1b[8mhidden", "\x1b]0;title\x07a\x1b[2Kb")
    )
    bench.deploy(app)
    assert output(bench, app) == ["\x1b[0;32mgreen\x1b[0m", "hidden", "ab"]
