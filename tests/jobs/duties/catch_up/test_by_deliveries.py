"""What GitHub could not deliver: the newest of it is deployed, once, as if it had arrived."""

from dataclasses import replace
from datetime import timedelta

import pytest

from jobs.duties.catch_up.duty import CatchingUp
from jobs.errors import GitError, GitHubError
from jobs.records.rollbacks import roll_back
from jobs.states import DeliveryOutcome, DeploymentState, Trigger
from jobs.storage.models import App, CatchUp, Deployment, Repository, now
from tests.builders import change_settings
from tests.jobs.bench import NOWHERE, TESTER, Bench, push_of
from tests.jobs.duties.catch_up.scene import GITHUB_ID, MAIN, Scene, payload, said

DAY = timedelta(days=1)


@pytest.fixture(autouse=True)
def hooked(scene: Scene) -> None:
    """A webhook that the token may see."""
    scene.hooked()


def only(found: list[Deployment]) -> Deployment:
    (one,) = found
    return one


def test_a_push_that_failed_is_deployed_and_says_so(bench: Bench, scene: Scene, web: App) -> None:
    sha = bench.commit()
    scene.miss("guid-a", sha)
    row = scene.look()
    made = only(scene.caught_up(web))
    assert (made.commit_sha, made.ref, made.guid) == (sha, MAIN, "guid-a")
    assert (made.actor, made.pushed_at) == ("keystone:catch-up", scene.seconds)
    assert (row.way, said(row), row.problem) == (
        "deliveries",
        "1 push was missed: #1 of web is queued",
        "",
    )
    (kept,) = scene.deliveries()
    assert (kept.guid, kept.outcome, kept.sender) == ("guid-a", DeliveryOutcome.QUEUED, "octocat")
    assert kept.reason == "GitHub was answered 502"
    (event,) = scene.audit("delivery.caught_up")
    assert (event.actor, event.details) == ("keystone:catch-up", {"guid": "guid-a"})
    assert bench.run(made.id or 0).state is DeploymentState.SUCCESS


def test_what_is_queued_is_woken_up(bench: Bench, scene: Scene, web: App) -> None:
    scene.miss("guid-a", bench.commit())
    scene.look()
    assert bench.runtime.queue.waiting() == {only(scene.caught_up(web)).id}


def test_only_the_newest_of_several_is_deployed(bench: Bench, scene: Scene, web: App) -> None:
    older, newer = bench.commit("older"), bench.commit("newer")
    scene.miss("guid-a", older)
    scene.miss("guid-b", newer, before=older)
    assert said(scene.look()) == "2 pushes were missed: #1 of web is queued"
    scene.look()
    assert only(scene.caught_up(web)).commit_sha == newer


def test_each_app_catches_up_on_its_own_newest(bench: Bench, scene: Scene, web: App) -> None:
    api = bench.app("api", branch="next")
    main, following = bench.commit(), bench.repository().commit({"a": "b"}, branch="next")
    scene.miss("guid-a", following, ref="refs/heads/next")
    scene.miss("guid-b", main)
    scene.look()
    assert only(scene.caught_up(web)).commit_sha == main
    assert only(scene.caught_up(api)).commit_sha == following


def test_nothing_is_asked_for_when_nothing_was_missed(bench: Bench, scene: Scene, web: App) -> None:
    push = push_of(bench, bench.commit())
    bench.deliver(push, guid="guid-a")
    scene.attempt("guid-a", payload(push.commit_sha), status_code=202)
    row = scene.look()
    assert (said(row), row.settled_until is not None) == ("nothing was missed", True)
    assert "payload octo/web" not in bench.world.journal
    assert scene.caught_up(web) == []


@pytest.mark.parametrize(
    ("status_code", "why"),
    [
        (0, "GitHub could not deliver it (failed to connect)"),
        (401, "GitHub was answered 401"),
        (202, "GitHub delivered it, but there is no record of it"),
    ],
)
def test_the_reason_of_a_missed_push_is_shown(
    bench: Bench, scene: Scene, web: App, status_code: int, why: str
) -> None:
    scene.miss("guid-a", bench.commit(), status_code=status_code)
    scene.look()
    assert scene.deliveries()[0].reason == why


# --- Once ------------------------------------------------------------------------------------


def test_a_redelivery_that_comes_later_finds_the_deployment(
    bench: Bench, scene: Scene, web: App
) -> None:
    push = push_of(bench, bench.commit(), pushed_at=scene.seconds + 1)
    scene.miss("guid-a", push.commit_sha)
    scene.look()
    again = bench.deliver(push, guid="guid-a", body="a" * 64)
    assert again.outcome is DeliveryOutcome.DUPLICATE
    assert [row.number for row, _ in again.deployments] == [1]
    # By now the signed body is known, so it cannot be replayed under another name either.
    replay = bench.deliver(push, guid="guid-z", body="a" * 64)
    assert replay.outcome is DeliveryOutcome.DUPLICATE
    assert len(bench.states(web)) == 1


def test_a_replay_under_another_guid_finds_the_deployment_too(
    bench: Bench, scene: Scene, web: App
) -> None:
    push = push_of(bench, bench.commit(), pushed_at=scene.seconds + 1)
    scene.miss("guid-a", push.commit_sha)
    scene.look()
    assert bench.deliver(push, guid="guid-z").outcome is DeliveryOutcome.DUPLICATE
    assert len(bench.states(web)) == 1


def test_the_same_commit_pushed_again_later_is_another_push(
    bench: Bench, scene: Scene, web: App
) -> None:
    sha = bench.commit()
    scene.miss("guid-a", sha)
    scene.look()
    later = push_of(bench, sha, pushed_at=scene.seconds + 100)
    assert bench.deliver(later).outcome is DeliveryOutcome.QUEUED


def test_several_attempts_of_one_push_are_one(bench: Bench, scene: Scene, web: App) -> None:
    told = payload(bench.commit())
    for status_code in (502, 504, 0):
        scene.attempt("guid-a", told, status_code=status_code)
    assert said(scene.look()) == "1 push was missed: #1 of web is queued"


def test_a_delivery_that_arrives_during_the_look_is_no_missed_one(
    bench: Bench, scene: Scene, web: App
) -> None:
    push = push_of(bench, bench.commit())
    scene.miss("guid-a", push.commit_sha)
    bench.world.forge.on("payload", lambda _about: bench.deliver(push, guid="guid-a") and None)
    assert said(scene.look()) == "1 push was missed: it has arrived meanwhile"
    assert bench.states(web) == ["queued"]
    assert scene.caught_up(web) == []


# --- As an ordinary push ---------------------------------------------------------------------


def test_a_paused_app_is_left_alone_and_not_surprised_afterwards(
    bench: Bench, scene: Scene, web: App
) -> None:
    set_fields(bench, web, auto_deploy=False)
    scene.miss("guid-a", bench.commit())
    assert "auto-deploy of web is paused" in said(scene.look())
    set_fields(bench, web, auto_deploy=True)
    scene.look()
    assert scene.caught_up(web) == []


def test_a_skipped_push_lets_the_one_before_it_through(
    bench: Bench, scene: Scene, web: App
) -> None:
    older, newer = bench.commit("older"), bench.commit("newer")
    scene.miss("guid-a", older)
    head = {"id": newer, "message": "Just words [skip ci]", "author": {"name": "Ada"}}
    scene.miss("guid-b", newer, before=older, head_commit=head)
    scene.look()
    assert only(scene.caught_up(web)).commit_sha == older


def test_a_push_that_touches_nothing_watched_is_left_alone(bench: Bench, scene: Scene) -> None:
    app = bench.app(token="ghp_own", watch_paths=["api/"])
    touched = [{"modified": ["README.md"]}]
    scene.miss("guid-a", bench.commit(), commits=touched)
    assert "touched nothing that web watches" in said(scene.look())
    assert scene.caught_up(app) == []


def test_nothing_comes_back_after_its_branch_was_deleted(
    bench: Bench, scene: Scene, web: App
) -> None:
    sha = bench.commit()
    scene.miss("guid-a", sha)
    scene.miss("guid-b", NOWHERE, before=sha, deleted=True, head_commit=None)
    del bench.repository().refs[MAIN]
    assert "main was deleted" in said(scene.look())
    assert scene.caught_up(web) == []


def test_a_branch_that_is_gone_by_now_is_not_deployed(bench: Bench, scene: Scene, web: App) -> None:
    scene.miss("guid-a", bench.commit())
    del bench.repository().refs[MAIN]
    assert "main was deleted" in said(scene.look())
    assert scene.caught_up(web) == []


def test_after_a_force_push_the_present_head_is_deployed(
    bench: Bench, scene: Scene, web: App
) -> None:
    gone, kept = bench.commit("gone"), bench.commit("kept")
    scene.miss("guid-a", gone)
    scene.miss("guid-b", kept, before=gone, forced=True)
    scene.look()
    assert only(scene.caught_up(web)).commit_sha == kept


# --- What a person or a newer push has decided -----------------------------------------------


def test_an_older_push_than_the_one_deployed_stays_where_it_is(
    bench: Bench, scene: Scene, web: App
) -> None:
    older, newer = bench.commit("older"), bench.commit("newer")
    scene.miss("guid-a", older)
    bench.deliver(push_of(bench, newer, before=older, pushed_at=scene.seconds + 5))
    assert "#1 is a newer push" in said(scene.look())
    assert scene.caught_up(web) == []


def test_a_request_after_the_push_is_not_replaced(bench: Bench, scene: Scene, web: App) -> None:
    scene.miss("guid-a", bench.commit(), ago=timedelta(0))
    bench.ask(web, ref="refs/heads/other", sha="d" * 40)
    assert "#1 was asked for after it" in said(scene.look())
    assert scene.caught_up(web) == []


def test_a_rollback_stays(bench: Bench, scene: Scene, web: App) -> None:
    bench.deploy(web)
    bench.deploy(web)
    scene.miss("guid-x", bench.commit())
    with bench.writing() as session:
        rolled = roll_back(session, session.get_one(App, web.id), None, TESTER)
    bench.run(rolled.id or 0)
    set_fields(bench, web, auto_deploy=True)
    assert "was asked for after it" in said(scene.look())
    assert scene.caught_up(web) == []


def test_an_app_ignores_pushes_from_before_it_was_added(
    bench: Bench, scene: Scene, web: App
) -> None:
    bench.app("older")
    set_fields(bench, web, name="older-web")
    with bench.writing() as session:
        session.get_one(App, web.id).created_at -= DAY
    scene.miss("guid-a", bench.commit(), ago=timedelta(hours=1))
    row = scene.look()
    assert "#1 of older-web is queued" in said(row)
    (kept,) = scene.deliveries()
    assert "older was added after it" in kept.reason


def test_what_is_live_already_is_not_deployed_again(bench: Bench, scene: Scene, web: App) -> None:
    done = bench.deploy(web)
    scene.miss("guid-lost", done.commit_sha)
    assert f"{done.commit_sha[:7]} is live already" in said(scene.look())


# --- Bounds and trouble ----------------------------------------------------------------------


def test_more_than_can_be_read_in_one_look_is_read_in_the_next(
    bench: Bench, scene: Scene, web: App, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("jobs.duties.catch_up.by_deliveries.MOST_PAYLOADS", 3)
    wanted = bench.commit("wanted")
    scene.miss("guid-wanted", wanted)
    for number in range(3):
        scene.miss(f"guid-{number}", bench.commit(f"{number}"), ref="refs/heads/other")
    row = scene.look()
    assert row.settled_until is None
    assert row.next_look_at is not None
    assert row.next_look_at <= now()
    assert scene.caught_up(web) == []
    assert scene.look().settled_until is not None
    assert only(scene.caught_up(web)).commit_sha == wanted


def test_a_push_that_github_does_not_list_is_found_by_the_branch(
    bench: Bench, scene: Scene, web: App
) -> None:
    bench.deploy(web)
    assert said(scene.look()) == "nothing was missed"
    sha = bench.commit("the webhook was switched off")
    row = scene.look()
    assert (row.way, row.problem) == ("deliveries", "")
    assert said(row) == "1 push was missed: #2 of web is queued"
    assert only(scene.caught_up(web)).commit_sha == sha
    assert said(scene.look()) == "nothing was missed"


def test_a_push_that_arrives_while_the_branch_is_asked_is_deployed_once(
    bench: Bench, scene: Scene, web: App
) -> None:
    bench.deploy(web)
    sha = bench.commit()

    def deliver(_seconds: float) -> None:
        bench.deliver(push_of(bench, sha))

    arriving = replace(scene.means, pause=deliver)
    scene.duty = CatchingUp(arriving)
    assert said(scene.look()) == "nothing was missed"
    assert scene.caught_up(web) == []
    assert bench.states(web) == ["success", "queued"]


CUT = "GitHub lists more deliveries than are read at once; for older ones the branch was looked at"


def test_what_stands_too_far_down_the_list_is_found_by_the_branch(
    bench: Bench, scene: Scene, web: App
) -> None:
    bench.deploy(web)
    sha = bench.commit()
    bench.world.forge.is_cut = True
    row = scene.look()
    assert (row.way, row.problem) == ("deliveries", CUT)
    assert said(row) == "1 push was missed: #2 of web is queued"
    assert only(scene.caught_up(web)).commit_sha == sha
    assert bench.runtime.queue.waiting() == {only(scene.caught_up(web)).id}


def test_the_branch_is_not_asked_about_an_app_that_has_its_newest(
    bench: Bench, scene: Scene, web: App
) -> None:
    api = bench.app("api", branch="next")
    bench.deploy(web)
    following = bench.repository().commit({"a": "b"}, branch="next")
    bench.run(bench.ask(api, ref="refs/heads/next"))
    older = bench.repository().commit({"a": "c"}, branch="next")
    newest = bench.commit()
    scene.miss("guid-a", newest)
    bench.world.forge.is_cut = True
    row = scene.look()
    assert row.problem == CUT
    assert only(scene.caught_up(web)).guid == "guid-a"
    made = only(scene.caught_up(api))
    assert (made.guid, made.commit_sha, made.before_sha) == (None, older, following)
    assert bench.runtime.queue.waiting() == {only(scene.caught_up(web)).id, made.id}


def test_when_the_branch_cannot_be_asked_either_it_is_tried_again(
    bench: Bench, scene: Scene, web: App
) -> None:
    bench.deploy(web)
    bench.commit()
    bench.world.forge.is_cut = True

    def fail(_about: str) -> None:
        raise GitError("the git server does not answer")

    bench.world.source.on("head", fail)
    row = scene.look()
    assert (row.problem, row.settled_until) == ("the git server does not answer", None)
    assert said(row) == "", "that nothing was missed is not known"
    bench.world.source.heal()
    assert "#2 of web is queued" in said(scene.look())


def test_a_branch_that_cannot_be_asked_takes_nothing_from_what_github_listed(
    bench: Bench, scene: Scene, web: App, caplog: pytest.LogCaptureFixture
) -> None:
    api = bench.app("api", branch="next")
    sha = bench.commit()
    scene.miss("guid-a", sha)

    def fail_for_next(about: str) -> None:
        if about.endswith("/next"):
            raise GitError("the git server does not answer")

    bench.world.source.on("head", fail_for_next)
    caplog.set_level("INFO")
    row = scene.look()
    made = only(scene.caught_up(web))
    assert made.commit_sha == sha
    assert bench.runtime.queue.waiting() == {made.id}
    assert (said(row), row.problem) == (
        "1 push was missed: #1 of web is queued",
        "the git server does not answer",
    )
    assert f"{said(row)}; {row.problem}" in caplog.text
    assert row.next_look_at is not None
    assert now() < row.next_look_at <= now() + timedelta(minutes=1)
    assert scene.caught_up(api) == []


def test_a_push_older_than_what_github_keeps_is_found_by_the_branch(
    bench: Bench, scene: Scene, web: App
) -> None:
    bench.deploy(web)
    scene.look()
    with bench.writing() as session:
        # As after a restore, or days of being down.
        session.get_one(CatchUp, web.repository_id).settled_until = now() - 5 * DAY
        session.get_one(App, web.id).created_at -= 9 * DAY
    sha = bench.commit()
    scene.miss("guid-a", sha, ago=4 * DAY)
    assert "#2 of web is queued" in said(scene.look())
    made = only(scene.caught_up(web))
    assert (made.commit_sha, made.guid) == (sha, None)
    # The delivery that comes after all, sent again by hand, is the same push.
    late = bench.deliver(push_of(bench, sha, pushed_at=scene.seconds), guid="guid-a")
    assert late.outcome is DeliveryOutcome.DUPLICATE
    assert bench.states(web) == ["success", "queued"]


def test_the_list_is_read_to_its_end_without_a_rest_and_no_longer(
    bench: Bench, scene: Scene, web: App, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("jobs.duties.catch_up.by_deliveries.MOST_PAYLOADS", 3)
    bench.deploy(web)
    for number in range(1, 11):
        scene.miss(f"guid-other-{number}", f"{number:040x}", ref="refs/heads/other")
    looks = 0
    while scene.duty() and looks < 20:
        looks += 1
    assert looks == 4
    assert len(bench.world.calls("payload")) == 10
    assert bench.world.calls("head") == ["head refs/heads/main"], "once, when the list is read"
    assert scene.row().settled_until is not None


@pytest.mark.parametrize("told", [None, [], "x", {"ref": "refs/heads/main"}])
def test_a_payload_that_is_no_push_is_put_aside_once(
    bench: Bench, scene: Scene, web: App, told: object
) -> None:
    scene.attempt("guid-a", told)
    assert "its payload cannot be read" in said(scene.look())
    assert said(scene.look()) == "nothing was missed"


def test_the_push_of_another_repository_of_that_name_is_put_aside(
    bench: Bench, scene: Scene, web: App
) -> None:
    with bench.writing() as session:
        session.get_one(Repository, web.repository_id).github_id = GITHUB_ID
    scene.miss("guid-a", "7" * 40, repository={"id": 7, "full_name": "octo/web"})
    assert "it is of another repository" in said(scene.look())
    assert scene.caught_up(web) == []


def test_another_name_is_not_learnt_but_asked_about(bench: Bench, scene: Scene, web: App) -> None:
    with bench.writing() as session:
        row = session.get_one(Repository, web.repository_id)
        row.github_id, row.identity_due_at = GITHUB_ID, now() + DAY
    scene.miss("guid-a", bench.commit(), repository={"id": GITHUB_ID, "full_name": "octo/site"})
    scene.look()
    assert only(scene.caught_up(web)).number == 1
    with bench.reading() as session:
        row = session.get_one(Repository, web.repository_id)
    assert row.full_name == "octo/web"
    assert row.identity_due_at is not None
    assert row.identity_due_at <= now()


def test_trouble_with_github_is_told_and_tried_again(bench: Bench, scene: Scene, web: App) -> None:
    sha = bench.commit()
    scene.miss("guid-a", sha)
    bench.world.forge.hook_errors = [GitHubError("GitHub's API failed with status 500")]
    row = scene.look()
    assert (row.problem, said(row)) == ("GitHub's API failed with status 500", "")
    assert row.settled_until is None
    assert (row.next_look_at or row.looked_at) is not None
    assert scene.look().problem == ""
    assert only(scene.caught_up(web)).commit_sha == sha


def test_a_pause_that_github_asks_for_is_kept(bench: Bench, scene: Scene, web: App) -> None:
    bench.world.forge.hook_errors = [GitHubError("GitHub asks for a pause", retry_after_s=1800)]
    row = scene.look()
    assert row.paused_until is not None
    assert row.looked_at is not None
    assert row.paused_until - row.looked_at == timedelta(seconds=1800)
    assert not scene.duty()
    assert not type(scene.duty)(scene.means)(), "a restart does not cut it short"


def test_a_git_server_that_is_down_delays_the_catch_up(
    bench: Bench, scene: Scene, web: App
) -> None:
    scene.miss("guid-a", bench.commit())
    bench.world.source.fail("head", GitError("the git server is down"))
    assert scene.look().problem == "the git server is down"
    bench.world.source.heal()
    scene.look()
    assert only(scene.caught_up(web)).trigger is Trigger.CATCH_UP


def set_fields(bench: Bench, app: App, **values: object) -> None:
    """Set columns of an app."""
    with bench.writing() as session:
        change_settings(session.get_one(App, app.id), **values)
