"""`keystone deploy`, `cancel`, `status` and `logs`, with the test as the worker."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partialmethod

import pytest

from jobs.cli.deployments import manual_request
from jobs.cli.following import follow, show_output
from jobs.errors import ConfigurationError, DockerError, PlatformError
from jobs.processes.bus import Bus
from jobs.processes.runtime import Runtime
from jobs.reads.deployments import find_deployment
from jobs.records.deployments import begin, finish
from jobs.records.leases import give_back, take
from jobs.records.watched import keep_vitals
from jobs.rules.redaction import Redactor
from jobs.rules.waiting import NO_WORKER
from jobs.settings import AllSettings
from jobs.states import DeploymentState
from jobs.storage.deployment_log import DeploymentLog, log_path
from jobs.storage.models import Vitals
from tests.jobs.cli.commands import Commands

Inside = Runtime[AllSettings]
SHA = "a" * 40
PATIENCE_S = 14  # below that of the connection


@pytest.fixture(autouse=True)
def web(keystone: Commands) -> None:
    """An app to be deployed."""
    keystone("app", "add", "web", "--repository", "octo/web")


def write_log(inside: Inside, deployment: int, text: str) -> None:
    """Say something in a deployment's log."""
    log = DeploymentLog(log_path(inside.settings.logs_dir, deployment), Redactor())
    log.write("build", text)
    log.close()


def work(inside: Inside, deployment: int, state: DeploymentState, reason: str = "") -> None:
    """Do a deployment, as a worker would."""
    with inside.database.writing() as session:
        row = find_deployment(session, deployment)
        held = take(session, row.app_id, deployment, "worker:1")
        session.flush()
        begin(session, held)
    write_log(inside, deployment, "compiling the app")
    with inside.database.writing() as session:
        finish(session, held, state, reason)
        give_back(session, held)


@contextmanager
def worker(inside: Inside, state: DeploymentState, reason: str = "") -> Iterator[None]:
    """Do the first deployment as soon as somebody asks for it."""

    def wait_and_work() -> None:
        deadline = time.monotonic() + 60
        while inside.queue.waiting() != {1} and time.monotonic() < deadline:
            time.sleep(0.02)
        work(inside, 1, state, reason)

    thread = threading.Thread(target=wait_and_work)
    thread.start()
    yield
    thread.join(60)


# --- deploy ----------------------------------------------------------------------------------


def test_a_deployment_is_queued_and_a_worker_woken(keystone: Commands, inside: Inside) -> None:
    queued = keystone("deploy", "web", "--json").json
    assert (queued["state"], queued["trigger"], queued["number"]) == ("queued", "manual", 1)
    assert queued["ref"] == "refs/heads/main"
    assert queued["actor"].startswith("cli:")
    assert inside.queue.waiting() == {queued["id"]}
    assert "keystone logs 2 -f" in keystone("deploy", "web").stdout


def test_what_a_queued_deployment_waits_for_is_told(keystone: Commands, inside: Inside) -> None:
    note_workers(inside, 0)
    queued = keystone("deploy", "web", "--json").json
    assert queued["waiting_for"] == NO_WORKER
    assert f"waits: {NO_WORKER}" in keystone("status", "web").stdout
    refused = keystone("logs", str(queued["id"]), code=3)
    assert f"it is queued and waits: {NO_WORKER}" in refused.stderr


def note_workers(inside: Inside, count: int) -> None:
    with inside.database.writing() as session:
        seen = Vitals(workers=count, disk_free=1, disk_total=1, problems={})
        keep_vitals(session, seen)


def test_a_redis_that_is_down_only_warns(
    keystone: Commands, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("KEYSTONE_REDIS_URL", "unix:///nowhere/at/all.sock")
    assert keystone("deploy", "web", "--json").json["state"] == "queued"
    assert "Redis did not take a wake-up" in caplog.text


def test_waiting_shows_the_log_and_exits_0_when_it_is_live(
    keystone: Commands, inside: Inside
) -> None:
    with worker(inside, DeploymentState.SUCCESS):
        told = keystone("deploy", "web", "--wait").stdout
    assert "build | compiling the app" in told
    assert "Deployment #1 of web ended success" in told


def test_waiting_exits_1_when_it_did_not_succeed_and_says_why(
    keystone: Commands, inside: Inside
) -> None:
    with worker(inside, DeploymentState.FAILURE, "the tests of the app failed"):
        told = keystone("deploy", "web", "--wait", code=1).stdout
    assert "ended failure" in told
    assert "the tests of the app failed" in told


def test_no_reason_gives_orders_to_the_terminal(keystone: Commands, inside: Inside) -> None:
    with worker(inside, DeploymentState.FAILURE, "a \x1b]0;title\x07step \x1b[2Jfailed"):
        told = keystone("deploy", "web", "--wait", code=1).stdout
    assert "a step failed" in told


def test_a_program_that_waits_gets_the_outcome_as_json(keystone: Commands, inside: Inside) -> None:
    with worker(inside, DeploymentState.ERROR, "Docker was away"):
        ended = keystone("deploy", "web", "--wait", "--json", code=1).json
    assert (ended["state"], ended["reason"]) == ("error", "Docker was away")


@pytest.mark.parametrize(
    ("typed", "ref", "sha"),
    [
        ("live", "refs/heads/live", ""),
        ("feature/x", "refs/heads/feature/x", ""),
        ("refs/heads/live", "refs/heads/live", ""),
        ("refs/tags/v1", "refs/tags/v1", ""),
        (SHA, SHA, SHA),
    ],
)
def test_a_ref_may_be_a_branch_a_full_ref_or_a_commit(typed: str, ref: str, sha: str) -> None:
    wanted = manual_request(typed)
    assert (wanted.ref, wanted.commit_sha) == (ref, sha)


@pytest.mark.parametrize("typed", ["--upload-pack=x", "a b", "x..y", "refs/heads/", "ref\n"])
def test_a_ref_that_git_does_not_allow_is_refused(typed: str) -> None:
    with pytest.raises(ConfigurationError):
        manual_request(typed)


# --- cancel, status, logs --------------------------------------------------------------------


def test_a_queued_deployment_is_cancelled_once(keystone: Commands) -> None:
    keystone("deploy", "web")
    cancelled = keystone("cancel", "1", "--json").json
    assert cancelled["state"] == "cancelled"
    assert "is over already" in keystone("cancel", "1", code=4).stderr
    keystone("cancel", "7", code=3)
    keystone("cancel", "web", code=2)


def test_status_is_what_the_api_says(keystone: Commands, inside: Inside) -> None:
    keystone("deploy", "web")
    work(inside, 1, DeploymentState.FAILURE, "no Dockerfile")
    (status,) = keystone("status", "--json").json["items"]
    assert status == keystone("status", "web", "--json").json
    assert status == keystone("app", "show", "web", "--json").json
    assert status["state"] == "failing"
    assert "deployment #1 failed: no Dockerfile" in keystone("status").stdout
    shown = keystone("status", "web").stdout
    assert "no Dockerfile" in shown
    assert "failure" in shown
    keystone("status", "gone", code=3)


def test_the_log_of_a_deployment_or_of_the_newest_one_is_shown(
    keystone: Commands, inside: Inside
) -> None:
    keystone("deploy", "web")
    work(inside, 1, DeploymentState.FAILURE)
    keystone("deploy", "web")
    write_log(inside, 2, "the second one")
    assert "compiling the app" in keystone("logs", "1").stdout
    assert "the second one" in keystone("logs", "web").stdout
    followed = keystone("logs", "1", "-f").stdout
    assert followed.endswith("\n")
    assert "ended failure" in followed


def test_a_log_that_is_not_there_is_not_found(keystone: Commands) -> None:
    assert "was never deployed" in keystone("logs", "web", code=3).stderr
    keystone("deploy", "web")
    assert "has no log: it is queued" in keystone("logs", "1", code=3).stderr
    keystone("logs", "gone", code=3)
    keystone("logs", "7", code=3)
    keystone("logs", "7", "-f", code=3)


def test_nobody_waits_for_ever(keystone: Commands, inside: Inside) -> None:
    keystone("deploy", "web")
    with pytest.raises(PlatformError, match="was not over within 0 s"):
        follow(inside, 1, within_s=0.3)


@contextmanager
def watcher(inside: Inside, *outputs: list[str]) -> Iterator[None]:
    """Be asked for a container's output, which each time has grown to this, and then be gone."""

    def answer() -> None:
        for output in outputs:
            if (question := inside.bus.next_question(timeout_s=PATIENCE_S)) is not None:
                lines = [(f"{n:04}", text) for n, text in enumerate(output)]
                new = [line for line in lines if line[0] > question.about["after"]]
                inside.bus.answer(question, {"lines": new[-question.about["tail"] :]})
        if (question := inside.bus.next_question(timeout_s=PATIENCE_S)) is not None:
            inside.bus.answer(question, {"error": "it is gone"})

    thread = threading.Thread(target=answer)
    thread.start()
    yield
    thread.join(60)


def test_following_an_app_drops_nothing_of_what_it_writes_from_then_on(
    inside: Inside, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    # And not 5 s: so long may an answer take on a busy machine.
    monkeypatch.setattr(Bus, "ask", partialmethod(Bus.ask, timeout_s=PATIENCE_S))
    lines = [f"line {number}" for number in range(300)]
    capsys.readouterr()
    with (
        watcher(inside, lines[:10], lines[:250], lines),
        pytest.raises(DockerError, match="it is gone"),
    ):
        show_output(inside, "web", tail=2, following=True)
    assert capsys.readouterr().out.splitlines() == lines[8:]
