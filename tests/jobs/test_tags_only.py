"""Apps that only tags deploy: pushes, requests without a ref, and missed tags."""

from dataclasses import replace

import pytest

from jobs.rules.app_settings import PushRules
from jobs.rules.refs import NEWEST_TAG
from jobs.rules.triggers import Deploy, Ignored, decide, default_ref, short_ref, source_words
from jobs.states import DeliveryOutcome, DeploymentState, DeployOn
from jobs.storage.models import App
from tests.jobs.bench import Bench, push_of
from tests.jobs.pushes import PUSH, RULE

TAGS = PushRules(deploy_on=DeployOn.TAGS, tag_pattern="v*")


@pytest.fixture
def app(bench: Bench) -> App:
    return bench.app(deploy_on="tags", tag_pattern="v*,!*-rc*")


def tag(bench: Bench, name: str, sha: str) -> str:
    bench.repository().refs[f"refs/tags/{name}"] = sha
    return sha


def test_a_branch_does_not_deploy_and_the_reason_says_what_does() -> None:
    rule = replace(RULE, wanted=TAGS)
    assert decide(PUSH, rule) == Ignored("web deploys only tags like v*, not main")
    assert decide(replace(PUSH, ref="refs/tags/v1"), rule) == Deploy()
    assert decide(replace(PUSH, ref="refs/tags/x"), rule) == Ignored(
        "web deploys tags like v*, not tag x"
    )


def test_without_a_pattern_every_tag_deploys() -> None:
    rule = replace(RULE, wanted=PushRules(deploy_on=DeployOn.TAGS))
    assert decide(replace(PUSH, ref="refs/tags/any/thing"), rule) == Deploy()
    assert decide(PUSH, rule) == Ignored("web deploys only tags like **, not main")


def test_an_app_that_an_earlier_version_stored_deploys_its_branch() -> None:
    assert PushRules.kept({"tag_pattern": "v*"}).deploy_on is DeployOn.BRANCH


def test_what_deploys_an_app_has_words() -> None:
    assert default_ref("main", DeployOn.BRANCH) == "refs/heads/main"
    assert short_ref(default_ref("main", DeployOn.TAGS)) == "the newest tag"
    assert source_words("main", DeployOn.TAGS, "v*") == "tags v*"
    assert source_words("main", DeployOn.TAGS, None) == "tags"
    assert source_words("main", DeployOn.BRANCH, "v*") == "main"


def test_pushes_of_both_kinds(bench: Bench, app: App) -> None:
    ignored = bench.deliver(push_of(bench, bench.commit()))
    assert ignored.outcome is DeliveryOutcome.IGNORED
    sha = tag(bench, "v1", bench.commit())
    ((row, _),) = bench.deliver(push_of(bench, sha, ref="refs/tags/v1")).deployments
    assert bench.run(row.id or 0).state is DeploymentState.SUCCESS
    assert bench.fresh(app).live_deployment_id == row.id


def test_a_request_without_a_ref_deploys_the_newest_tag(bench: Bench, app: App) -> None:
    tag(bench, "v1.9", bench.commit("one"))
    sha = tag(bench, "v1.10", bench.commit("two"))
    tag(bench, "v2-rc1", bench.commit("three"))
    done = bench.run(bench.ask(app, ref=NEWEST_TAG))
    assert done.state is DeploymentState.SUCCESS, done.reason
    assert (done.ref, done.commit_sha) == ("refs/tags/v1.10", sha)
    assert "of tag v1.10: two" in bench.log(done.id or 0)


def test_without_a_tag_the_request_fails_and_says_why(bench: Bench, app: App) -> None:
    bench.commit()
    done = bench.run(bench.ask(app, ref=NEWEST_TAG))
    assert done.state is DeploymentState.FAILURE
    assert done.reason == "the repository has no tag that matches v*,!*-rc*; push one first"
