"""Watched paths and tags: which pushes deploy an app, and what is said of the others."""

from collections.abc import Sequence
from dataclasses import replace

import pytest

from jobs.rules.app_settings import PushRules
from jobs.rules.triggers import (
    LONGEST_PATH,
    MOST_PATH_CHARACTERS,
    Deploy,
    Ignored,
    Push,
    Rule,
    decide,
)
from jobs.states import DeliveryOutcome
from jobs.storage.models import App
from tests.jobs.bench import Bench, push_of
from tests.jobs.pushes import PUSH, RULE


def nothing_watched(*patterns: str) -> Ignored:
    return Ignored(f"it touched nothing that web watches ({', '.join(patterns)})")


def touching(*paths: str, push: Push = PUSH) -> Push:
    return replace(push, paths=frozenset(paths))


def watching(*patterns: str) -> Rule:
    return replace(RULE, wanted=PushRules(watch_paths=patterns))


class TestPaths:
    @pytest.mark.parametrize(
        ("paths", "patterns"),
        [
            (["README.md"], []),
            (["src/app.py", "README.md"], ["src/"]),
            (["src/a/b.py"], ["docs/**", "**/*.py"]),
            ([], []),
        ],
    )
    def test_touching_one_that_is_watched_deploys(
        self, paths: Sequence[str], patterns: Sequence[str]
    ) -> None:
        assert decide(touching(*paths), watching(*patterns)) == Deploy()

    @pytest.mark.parametrize(
        ("paths", "patterns"),
        [(["README.md"], ["src/"]), (["src/a/b.py"], ["src/*.py"]), ([], ["**"])],
    )
    def test_touching_nothing_that_is_watched_does_not(
        self, paths: Sequence[str], patterns: Sequence[str]
    ) -> None:
        assert decide(touching(*paths), watching(*patterns)) == nothing_watched(*patterns)

    def test_a_push_that_cannot_tell_may_have_touched_anything(self) -> None:
        assert decide(replace(PUSH, paths=None), watching("src/")) == Deploy()

    def test_a_push_of_many_paths_is_matched(self) -> None:
        most = [f"docs/{number}" for number in range(20_000)]
        assert decide(touching(*most), watching("src/", "lib/")) == nothing_watched("src/", "lib/")
        assert decide(touching(*most, "lib/x"), watching("src/", "lib/")) == Deploy()

    def test_a_path_that_git_cannot_hold_may_stand_for_anything(self) -> None:
        assert decide(touching("docs/".ljust(LONGEST_PATH, "x")), watching("src/")) != Deploy()
        assert decide(touching("docs/".ljust(LONGEST_PATH + 1, "x")), watching("src/")) == Deploy()

    def test_a_push_of_more_than_can_be_matched_in_time_is_deployed(self) -> None:
        most = [f"docs/{number:0195}" for number in range(MOST_PATH_CHARACTERS // 200)]
        assert decide(touching(*most), watching("src/")) == nothing_watched("src/")
        assert decide(touching(*most, "x"), watching("src/")) == Deploy()

    def test_the_reason_names_the_first_patterns(self) -> None:
        long = "docs/" + "x" * 200
        match decide(touching("README.md"), watching("a/", long, "b", "c", "d")):
            case Ignored(reason):
                assert reason == (
                    f"it touched nothing that web watches (a/, {long[:40]}…, b and 2 more)"
                )

    def test_what_else_speaks_against_it_is_said_first(self) -> None:
        paused = replace(watching("src/"), auto_deploy=False)
        assert decide(touching("README.md"), paused) == Ignored("auto-deploy of web is paused")


class TestTags:
    TAGGED = replace(PUSH, ref="refs/tags/v1.2")

    @pytest.mark.parametrize("pattern", ["v*", "v1.2", "v?.?", "**"])
    def test_one_that_fits_deploys(self, pattern: str) -> None:
        assert decide(self.TAGGED, replace(RULE, wanted=PushRules(tag_pattern=pattern))) == Deploy()

    @pytest.mark.parametrize("pattern", ["v2*", "1.2", "release/*", "V*"])
    def test_another_does_not_and_both_are_named(self, pattern: str) -> None:
        rule = replace(RULE, wanted=PushRules(tag_pattern=pattern))
        assert decide(self.TAGGED, rule) == Ignored(
            f"web deploys tags like {pattern}, not tag v1.2"
        )

    def test_a_pattern_changes_nothing_for_branches(self) -> None:
        rule = replace(RULE, wanted=PushRules(tag_pattern="*"))
        assert decide(PUSH, rule) == Deploy()
        other = replace(PUSH, ref="refs/heads/v1")
        assert decide(other, rule) == Ignored("web deploys main, not v1")

    def test_a_tag_that_is_deleted_deploys_nothing(self) -> None:
        gone = replace(self.TAGGED, deleted=True, commit_sha="")
        assert decide(gone, replace(RULE, wanted=PushRules(tag_pattern="v*"))) == Ignored(
            "tag v1.2 was deleted"
        )


class TestAccepting:
    @pytest.fixture
    def api(self, bench: Bench) -> App:
        """One of two apps that share a repository, each with a folder of its own."""
        bench.app("site", watch_paths=["site/"])
        return bench.app("api", watch_paths=["api/", "go.mod"], tag_pattern="api-v*")

    def deployed(self, bench: Bench, paths: frozenset[str] | None) -> list[str]:
        receipt = bench.deliver(push_of(bench, bench.commit(), paths=paths))
        assert receipt.outcome in {DeliveryOutcome.QUEUED, DeliveryOutcome.IGNORED}
        return [name for _, name in receipt.deployments]

    @pytest.mark.usefixtures("api")
    def test_each_app_is_deployed_by_what_it_watches(self, bench: Bench) -> None:
        assert self.deployed(bench, frozenset({"api/main.go"})) == ["api"]
        assert self.deployed(bench, frozenset({"site/index.html"})) == ["site"]
        assert self.deployed(bench, frozenset({"go.mod", "site/a"})) == ["api", "site"]
        assert self.deployed(bench, frozenset({"README.md"})) == []

    @pytest.mark.usefixtures("api")
    def test_a_forced_new_or_huge_push_deploys_all_of_them(self, bench: Bench) -> None:
        assert self.deployed(bench, None) == ["api", "site"]

    @pytest.mark.usefixtures("api")
    def test_what_was_not_deployed_is_on_record_with_the_reason(self, bench: Bench) -> None:
        push = push_of(bench, bench.commit(), paths=frozenset({"README.md"}))
        receipt = bench.deliver(push)
        assert receipt.outcome is DeliveryOutcome.IGNORED
        assert receipt.reason == (
            "it touched nothing that api watches (api/, go.mod); "
            "it touched nothing that site watches (site/)"
        )

    def test_a_tag_deploys_the_commit_it_is_on(self, bench: Bench, api: App) -> None:
        sha = bench.commit()
        receipt = bench.deliver(push_of(bench, sha, ref="refs/tags/api-v1", paths=None))
        ((queued, name),) = receipt.deployments
        assert (name, queued.commit_sha, queued.ref) == ("api", sha, "refs/tags/api-v1")
        assert "site does not deploy tags" in receipt.reason
        done = bench.run(queued.id or 0)
        assert done.reason == ""
        assert bench.fresh(api).live_deployment_id == done.id
