"""`keystone rollback` and `keystone releases`, with the test as the worker."""

from collections.abc import Callable

import pytest

from jobs.cli.rollback import release_number
from jobs.errors import ConfigurationError
from jobs.processes.runtime import Runtime
from jobs.reads.apps import find_app
from jobs.reads.deployments import find_deployment
from jobs.records.deployments import Live, begin, go_live, record_release
from jobs.records.leases import give_back, take
from jobs.rules.app_settings import BuildSettings, ContainerSettings
from jobs.settings import AllSettings
from jobs.storage.models import Release
from tests.jobs.cli.commands import Commands

Inside = Runtime[AllSettings]
Releasing = Callable[[], int]


@pytest.fixture(autouse=True)
def web(keystone: Commands) -> None:
    """An app to be rolled back."""
    keystone("app", "add", "web", "--repository", "octo/web")


@pytest.fixture
def release(keystone: Commands, inside: Inside) -> Releasing:
    """Deploy by hand and make the deployment live, as a worker would; gives its id."""

    def deploy() -> int:
        asked: int = keystone("deploy", "web", "--json").json["id"]
        sha = f"{asked:040x}"
        with inside.database.writing() as session:
            row = find_deployment(session, asked)
            row.commit_sha, row.commit_message = sha, f"Commit {asked}\n\nwith a body"
            held = take(session, row.app_id, asked, "worker:1")
            session.flush()
            begin(session, held)
            made = record_release(session, held, a_release(row.app_id, asked, sha))
            go_live(session, held, Live(made.id or 0, f"{asked:064x}", "10.201.0.2:80", "a"))
            give_back(session, held)
        return asked

    return deploy


def a_release(app_id: int, deployment_id: int, sha: str) -> Release:
    return Release(
        app_id=app_id,
        number=0,
        deployment_id=deployment_id,
        commit_sha=sha,
        image=f"keystone-ident/web:{sha[-12:]}",
        image_id=f"sha256:{sha}",
        configuration=1,
        build=BuildSettings(),
        container=ContainerSettings(container_port=80),
        environment=b"sealed",
    )


class TestRollingBack:
    def test_the_release_before_the_live_one_is_asked_for(
        self, keystone: Commands, inside: Inside, release: Releasing
    ) -> None:
        for _ in range(3):
            release()
        done = keystone("rollback", "web")
        assert done.stdout == (
            "Deployment #4 takes web back to v2.\n"
            "Auto-deploy is paused; `keystone app set web --auto-deploy` resumes it.\n"
        )
        with inside.database.reading() as session:
            app = find_app(session, "web")
            asked = find_deployment(session, 4)
        assert not app.auto_deploy
        assert app.paused_reason.startswith("rolled back to v2 by cli:")
        assert (asked.trigger, asked.state, asked.commit_sha) == (
            "rollback",
            "queued",
            f"{2:040x}",
        )
        assert 4 in inside.queue.waiting()

    @pytest.mark.parametrize("to", ["v1", "1"])
    def test_another_release_can_be_named(
        self, keystone: Commands, release: Releasing, to: str
    ) -> None:
        for _ in range(3):
            release()
        found = keystone("rollback", "web", "--to", to, "--json").json
        assert (found["release"], found["kind"], found["trigger"]) == (1, "rollback", "rollback")

    @pytest.mark.parametrize(
        ("to", "sentence", "code"),
        [
            ("v2", "v2 is the live release", 4),
            ("v9", "v9 is not kept or was never live; kept are: v1", 4),
            ("latest", "--to: 'latest' is not a release, like v12", 2),
        ],
    )
    def test_an_impossible_rollback_is_explained_and_changes_nothing(
        self,
        keystone: Commands,
        inside: Inside,
        release: Releasing,
        to: str,
        sentence: str,
        code: int,
    ) -> None:
        release()
        release()
        assert sentence in keystone("rollback", "web", "--to", to, code=code).stderr
        with inside.database.reading() as session:
            app = find_app(session, "web")
        assert (app.auto_deploy, app.last_deployment) == (True, 2)

    def test_without_an_earlier_release_there_is_no_way_back(self, keystone: Commands) -> None:
        refused = keystone("rollback", "web", code=4)
        assert "there is no earlier release to go back to" in refused.stderr

    def test_auto_deploy_is_resumed_by_hand(self, keystone: Commands, release: Releasing) -> None:
        release()
        release()
        keystone("rollback", "web")
        keystone("app", "set", "web", "--auto-deploy")
        shown = keystone("app", "show", "web", "--json").json
        assert (shown["auto_deploy"], shown["paused_reason"]) == (True, "")


class TestReleases:
    def test_the_newest_comes_first_and_says_how_it_stands(
        self, keystone: Commands, release: Releasing
    ) -> None:
        for _ in range(3):
            release()
        keystone("app", "set", "web", "--keep-releases", "2")
        table = keystone("releases", "web").stdout
        assert [line.split()[:3] for line in table.splitlines()[1:]] == [
            ["v3", "live", "00000000"],
            ["v2", "kept", "00000000"],
            ["v1", "00000000", "Commit"],
        ]
        assert "with a body" not in table
        listed = keystone("releases", "web", "--json").json["items"]
        assert [item["number"] for item in listed] == [3, 2, 1]
        assert [item["is_restorable"] for item in listed] == [False, True, False]

    def test_an_app_that_was_never_live_says_what_to_do(self, keystone: Commands) -> None:
        said = keystone("releases", "web").stdout
        assert said == "web was never live; `keystone deploy web` does it.\n"


@pytest.mark.parametrize(("given", "number"), [(None, None), ("v12", 12), ("12", 12), ("v0", 0)])
def test_a_release_is_written_with_or_without_its_v(given: str | None, number: int | None) -> None:
    assert release_number(given) == number


@pytest.mark.parametrize("given", ["", "v", "V1", "v-1", "1.0", "v1 ", "9" * 10])
def test_what_is_no_release_is_refused(given: str) -> None:
    with pytest.raises(ConfigurationError, match="is not a release, like v12"):
        release_number(given)
