"""Without GitHub's list: a branch's head that nobody knows of is a push that was missed."""

import pytest

from jobs.errors import CheckoutError, GitError, GitHubDeniedError
from jobs.states import DeliveryOutcome, DeploymentState
from jobs.storage.models import App, Deployment
from tests.builders import change_settings
from tests.fakes import Behaviour
from tests.jobs.bench import FILES, NOWHERE, Bench, push_of
from tests.jobs.duties.catch_up.scene import MAIN, Scene, said

NO_HOOK = "no webhook of octo/web sends to http://127.0.0.1:8000/webhooks/github"


@pytest.fixture
def live(bench: Bench, web: App) -> Deployment:
    """What serves."""
    return bench.deploy(web)


def only(found: list[Deployment]) -> Deployment:
    (one,) = found
    return one


# --- Found -----------------------------------------------------------------------------------


def test_a_head_that_nobody_knows_is_deployed(
    bench: Bench, scene: Scene, web: App, live: Deployment
) -> None:
    sha = bench.commit("Add a thing")
    row = scene.look()
    made = only(scene.caught_up(web))
    assert (made.commit_sha, made.ref, made.before_sha) == (sha, MAIN, live.commit_sha)
    assert (made.commit_message, made.guid, made.actor) == (
        "Add a thing",
        None,
        "keystone:catch-up",
    )
    assert (row.way, row.problem) == ("branch_head", NO_HOOK)
    assert said(row) == "1 push was missed: #2 of web is queued"
    (event,) = scene.audit("delivery.caught_up")
    assert (event.target, event.details) == ("app:web", {"ref": MAIN, "commit_sha": sha})
    assert bench.run(made.id or 0).state is DeploymentState.SUCCESS


@pytest.mark.usefixtures("live")
def test_an_unknown_head_is_deployed_once(bench: Bench, scene: Scene, web: App) -> None:
    bench.commit()
    scene.look()
    assert said(scene.look()) == "nothing was missed"
    assert len(scene.caught_up(web)) == 1


@pytest.mark.parametrize(
    ("token", "denied", "problem"),
    [
        (None, None, "there is no token to ask GitHub with"),
        ("ghp_own", "the token lacks a permission; GitHub wants repository_hooks=read", ""),
        ("ghp_own", "octo/web does not exist or the token may not see it", ""),
    ],
)
def test_without_hook_rights_the_branch_is_asked(
    bench: Bench, scene: Scene, token: str | None, denied: str | None, problem: str
) -> None:
    app = bench.app(token=token) if token else bench.app()
    bench.deploy(app)
    scene.hooked()
    if denied:
        bench.world.forge.hook_errors = [GitHubDeniedError(denied, permanent=True)]
    sha = bench.commit()
    row = scene.look()
    assert (row.way, row.problem) == ("branch_head", denied or problem)
    assert only(scene.caught_up(app)).commit_sha == sha


# --- Known -----------------------------------------------------------------------------------


@pytest.mark.parametrize("behaviour", [Behaviour(), Behaviour(exits=3)])
def test_a_head_that_was_deployed_however_it_ended_is_left_alone(
    bench: Bench, scene: Scene, web: App, behaviour: Behaviour
) -> None:
    bench.world.engine.behaviour = behaviour
    bench.run(bench.push(web))
    assert said(scene.look()) == "nothing was missed"
    assert scene.caught_up(web) == []


def test_a_head_that_is_queued_or_was_cancelled_is_left_alone(
    bench: Bench, scene: Scene, web: App
) -> None:
    queued = bench.push(web)
    scene.look()
    bench.cancel(queued)
    scene.look()
    assert scene.caught_up(web) == []


def test_a_head_that_was_not_wanted_when_it_arrived_is_left_alone(
    bench: Bench, scene: Scene, web: App
) -> None:
    push = push_of(bench, bench.commit(), message="Words [skip ci]")
    assert bench.deliver(push).outcome is DeliveryOutcome.IGNORED
    scene.look()
    assert scene.caught_up(web) == []


@pytest.mark.usefixtures("live")
def test_a_deployment_by_hand_that_is_on_its_way_takes_the_head_along(
    bench: Bench, scene: Scene, web: App
) -> None:
    bench.commit()
    bench.ask(web)
    scene.look()
    assert scene.caught_up(web) == []


def test_a_branch_put_back_to_a_commit_that_was_live_once_is_left_alone(
    bench: Bench, scene: Scene, web: App, live: Deployment
) -> None:
    bench.deploy(web)
    bench.repository().refs[MAIN] = live.commit_sha
    assert said(scene.look()) == "nothing was missed"


def test_a_new_app_is_not_deployed_because_its_branch_has_a_commit(
    bench: Bench, scene: Scene, web: App
) -> None:
    first = bench.commit()
    assert "compared from now on" in said(scene.look())
    assert (scene.caught_up(web), scene.head(web)) == ([], first)
    missed = bench.commit()
    scene.look()
    assert only(scene.caught_up(web)).commit_sha == missed


@pytest.mark.usefixtures("live")
def test_choosing_another_branch_does_not_deploy_its_head(
    bench: Bench, scene: Scene, web: App
) -> None:
    bench.repository().commit({"Dockerfile": "FROM scratch", "web": "x"}, branch="next")
    set_fields(bench, web, branch="next")
    assert "next is compared from now on" in said(scene.look())
    assert scene.caught_up(web) == []


@pytest.mark.usefixtures("live")
def test_a_branch_that_does_not_exist_is_told(bench: Bench, scene: Scene, web: App) -> None:
    del bench.repository().refs[MAIN]
    assert said(scene.look()) == "the branch main does not exist"


# --- As an ordinary push ---------------------------------------------------------------------


@pytest.mark.usefixtures("live")
def test_a_paused_app_is_left_alone_and_not_surprised_afterwards(
    bench: Bench, scene: Scene, web: App
) -> None:
    set_fields(bench, web, auto_deploy=False)
    bench.commit()
    assert "auto-deploy of web is paused" in said(scene.look())
    set_fields(bench, web, auto_deploy=True)
    scene.look()
    assert scene.caught_up(web) == []


@pytest.mark.usefixtures("live")
def test_a_message_that_says_skip_is_heard(bench: Bench, scene: Scene, web: App) -> None:
    bench.commit("Words [skip ci]")
    assert "the commit message says [skip ci]" in said(scene.look())
    scene.look()
    assert scene.caught_up(web) == []


@pytest.mark.parametrize(("path", "is_deployed"), [("api/main.go", True), ("README.md", False)])
def test_watched_paths_are_compared_with_what_was_deployed_last(
    bench: Bench, scene: Scene, path: str, *, is_deployed: bool
) -> None:
    app = bench.app(token="ghp_own", watch_paths=["api/"])
    bench.deploy(app)
    bench.repository().commit({**FILES, path: "changed"}, message="Change one file")
    scene.look()
    assert bool(scene.caught_up(app)) is is_deployed


def test_without_the_base_commit_any_path_may_have_changed(bench: Bench, scene: Scene) -> None:
    app = bench.app(token="ghp_own", watch_paths=["api/"])
    done = bench.deploy(app)
    bench.commit()
    del bench.repository().commits[done.commit_sha]
    scene.look()
    assert len(scene.caught_up(app)) == 1


@pytest.mark.usefixtures("live")
def test_a_request_made_meanwhile_is_not_replaced(bench: Bench, scene: Scene, web: App) -> None:
    scene.look()
    bench.commit()
    bench.ask(web, ref="refs/heads/other", sha="d" * 40)
    assert "main has moved on, but #2 was asked for meanwhile" in said(scene.look())
    scene.look()
    assert scene.caught_up(web) == []


# --- The delivery comes after all ------------------------------------------------------------


def test_the_delivery_that_comes_later_finds_the_deployment(
    bench: Bench, scene: Scene, web: App, live: Deployment
) -> None:
    push = push_of(bench, bench.commit(), before=live.commit_sha)
    scene.look()
    late = bench.deliver(push, guid="guid-late")
    assert late.outcome is DeliveryOutcome.DUPLICATE
    made = only(scene.caught_up(web))
    assert (made.guid, made.pushed_at) == ("guid-late", push.pushed_at)
    assert bench.deliver(push, guid="guid-late").outcome is DeliveryOutcome.DUPLICATE


@pytest.mark.usefixtures("live")
def test_a_delivery_that_comes_in_the_same_moment_is_waited_for(
    bench: Bench, scene: Scene, web: App
) -> None:
    push = push_of(bench, bench.commit())
    bench.world.source.on("commit", lambda _about: bench.deliver(push) and None)
    assert said(scene.look()) == "it has arrived meanwhile"
    assert scene.caught_up(web) == []


@pytest.mark.usefixtures("live")
def test_the_branch_put_back_there_again_is_another_push(
    bench: Bench, scene: Scene, web: App
) -> None:
    first = bench.commit()
    scene.look()
    bench.deploy(web)
    assert bench.deliver(push_of(bench, first)).outcome is DeliveryOutcome.QUEUED


@pytest.mark.usefixtures("live")
@pytest.mark.parametrize("is_deployed", [False, True])
@pytest.mark.parametrize("is_tried", [False, True])
def test_pushes_that_all_come_late_are_deployed_once_as_the_newest(
    bench: Bench, scene: Scene, web: App, *, is_deployed: bool, is_tried: bool
) -> None:
    pushes = [push_of(bench, bench.commit(words)) for words in ("older", "old", "newest")]
    scene.look()
    made = only(scene.caught_up(web))
    if is_deployed:
        bench.run(made.id or 0)
    for push in pushes[:-1]:
        late = bench.deliver(push).deployments[0][0]
        if is_tried:
            assert bench.run(late.id or 0).state is DeploymentState.SUPERSEDED
    assert bench.deliver(pushes[-1]).outcome is DeliveryOutcome.DUPLICATE
    bench.run(made.id or 0)
    assert bench.states(web) == ["success", "success", "superseded", "superseded"]
    assert bench.deployment(bench.fresh(web).live_deployment_id or 0).id == made.id


@pytest.mark.usefixtures("live")
def test_the_branch_put_back_there_again_at_once_ends_there(
    bench: Bench, scene: Scene, web: App
) -> None:
    first = bench.commit()
    scene.look()
    made = only(scene.caught_up(web))
    waiting = bench.deliver(push_of(bench, bench.commit("then another"))).deployments[0][0]
    bench.repository().refs["refs/heads/main"] = first
    assert bench.deliver(push_of(bench, first)).outcome is DeliveryOutcome.DUPLICATE
    bench.run(waiting.id or 0)
    bench.run(made.id or 0)
    assert bench.states(web) == ["success", "success", "superseded"]


@pytest.mark.usefixtures("live")
def test_an_older_delivery_that_comes_late_does_not_go_back(
    bench: Bench, scene: Scene, web: App
) -> None:
    older = push_of(bench, bench.commit("older"))
    newer = bench.commit("newer")
    scene.look()
    bench.run(only(scene.caught_up(web)).id or 0)
    late = bench.deliver(older).deployments[0][0]
    assert bench.run(late.id or 0).state is DeploymentState.SUPERSEDED
    assert bench.deployment(bench.fresh(web).live_deployment_id or 0).commit_sha == newer


@pytest.mark.usefixtures("live")
def test_deliveries_that_can_be_read_later_find_the_head_already_known(
    bench: Bench, scene: Scene, web: App
) -> None:
    sha = bench.commit()
    scene.look()
    scene.hooked()
    scene.miss("guid-a", sha)
    assert "this push was accepted before" in said(scene.look())
    assert len(scene.caught_up(web)) == 1


# --- Trouble ---------------------------------------------------------------------------------


@pytest.mark.usefixtures("live")
@pytest.mark.parametrize("call", ["head", "fetch"])
@pytest.mark.parametrize("error", [GitError("it is down"), CheckoutError("it refuses the token")])
def test_trouble_with_git_delays_the_catch_up(
    bench: Bench, scene: Scene, web: App, call: str, error: GitError | CheckoutError
) -> None:
    bench.commit()
    bench.world.source.fail(call, error)
    row = scene.look()
    assert (row.problem, row.settled_until) == (str(error), None)
    bench.world.source.heal()
    scene.look()
    assert len(scene.caught_up(web)) == 1


@pytest.mark.usefixtures("live")
def test_a_push_of_this_moment_is_given_time_to_arrive(bench: Bench, scene: Scene) -> None:
    scene.look()
    assert scene.pauses == []
    bench.commit()
    scene.look()
    assert scene.pauses == [10.0]


@pytest.mark.usefixtures("live", "web")
def test_a_branch_is_asked_once_for_all_its_apps(bench: Bench, scene: Scene) -> None:
    api = bench.app("api")
    sha = bench.commit()
    row = scene.look()
    assert bench.world.calls("head") == [f"head {MAIN}"]
    assert "main is compared from now on" in said(row)
    assert "#2 of web is queued" in said(row)
    assert (scene.caught_up(api), scene.head(api)) == ([], sha)


def test_an_empty_repository_is_no_trouble(bench: Bench, scene: Scene, web: App) -> None:
    assert said(scene.look()) == "the branch main does not exist"
    assert scene.head(web) is None
    assert NOWHERE not in bench.world.journal


def set_fields(bench: Bench, app: App, **values: object) -> None:
    """Set columns of an app."""
    with bench.writing() as session:
        change_settings(session.get_one(App, app.id), **values)


# --- Tags ------------------------------------------------------------------------------------


@pytest.fixture
def tagged(bench: Bench) -> App:
    """An app that only tags deploy, live at v1.9."""
    app = bench.app(token="ghp_own", deploy_on="tags", tag_pattern="v*,!*-rc*")
    point(bench, "v1.9", bench.commit("one"))
    done = bench.run(bench.ask(app, ref="refs/tags/*"))
    assert done.ref == "refs/tags/v1.9"
    return app


def point(bench: Bench, tag: str, sha: str) -> str:
    bench.repository().refs[f"refs/tags/{tag}"] = sha
    return sha


def test_a_newer_tag_that_nobody_knows_is_deployed_once(
    bench: Bench, scene: Scene, tagged: App
) -> None:
    scene.look()
    point(bench, "v2-rc1", bench.commit("not yet"))
    sha = point(bench, "v1.10", bench.commit("two"))
    for _ in range(2):
        scene.look()
    made = only(scene.caught_up(tagged))
    assert (made.ref, made.commit_sha) == ("refs/tags/v1.10", sha)
    assert bench.run(made.id or 0).state is DeploymentState.SUCCESS
    assert said(scene.look()) == "nothing was missed"


def test_the_branch_of_an_app_of_tags_is_not_followed(
    bench: Bench, scene: Scene, tagged: App
) -> None:
    bench.commit("on main")
    assert said(scene.look()) == "nothing was missed"
    assert scene.caught_up(tagged) == []


def test_a_newest_tag_that_was_delivered_or_is_asked_for_is_known(
    bench: Bench, scene: Scene, tagged: App
) -> None:
    sha = point(bench, "v2", bench.commit("two"))
    bench.deliver(push_of(bench, sha, ref="refs/tags/v2", message="Words [skip ci]"))
    assert said(scene.look()) == "nothing was missed"
    point(bench, "v3", bench.commit("three"))
    bench.ask(tagged, ref="refs/tags/*")
    assert said(scene.look()) == "nothing was missed"
    assert scene.caught_up(tagged) == []


def test_a_tag_that_is_deleted_does_not_deploy_an_older_one(
    bench: Bench, scene: Scene, tagged: App
) -> None:
    point(bench, "v1.8", bench.commit("older"))
    scene.look()
    del bench.repository().refs["refs/tags/v1.9"]
    scene.look()
    assert scene.caught_up(tagged) == []


def test_a_tag_that_is_moved_is_deployed(bench: Bench, scene: Scene, tagged: App) -> None:
    scene.look()
    sha = point(bench, "v1.9", bench.commit("again"))
    scene.look()
    assert only(scene.caught_up(tagged)).commit_sha == sha


def test_a_tag_that_the_pattern_does_not_match_makes_no_other_tag_older(
    bench: Bench, scene: Scene, tagged: App
) -> None:
    point(bench, "x9", bench.commit("tried out"))
    bench.run(bench.ask(tagged, ref="refs/tags/x9"))
    sha = point(bench, "v1.10", bench.commit("two"))
    scene.look()
    made = only(scene.caught_up(tagged))
    assert (made.ref, made.commit_sha) == ("refs/tags/v1.10", sha)


def test_an_app_of_tags_without_any_is_told_so(bench: Bench, scene: Scene) -> None:
    bench.app(token="ghp_own", deploy_on="tags")
    bench.commit()
    assert said(scene.look()) == "no tag that deploys exists"
