"""A deployment's page beyond what it has in common with others: its timeline, build, commits."""

from datetime import timedelta
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from dashboard.build_steps import draw_build
from dashboard.commits import commit_links
from dashboard.timeline import timeline
from jobs.reads.deployments import deployment_view
from jobs.reads.views import BuildStepView, SectionView
from jobs.settings import Settings
from jobs.states import BuildStepState, DeploymentState, StepState, Trigger
from jobs.storage.database import Database
from jobs.storage.deployment_log import log_path
from jobs.storage.models import now
from tests.dashboard import rows
from tests.dashboard.scene import Scene
from tests.dashboard.site import Door, page

SHA, BASE = "a" * 40, "b" * 40
GITHUB = "https://api.github.com"


def long_log(settings: Settings, deployment: int, lines: int = 1000) -> Path:
    """Write a log that no page shows at once."""
    path = log_path(settings.logs_dir, deployment)
    stamp = "2026-11-23T15:45:58.123Z"
    path.write_text("".join(f"{stamp} build | line {n}\n" for n in range(1, lines + 1)))
    return path


def test_a_queued_deployment_says_what_it_waits_for(client: TestClient, database: Database) -> None:
    with database.writing() as session:
        app = rows.add_app(session, name="waiting")
        first, second = (
            rows.add_deployment(session, app, state=DeploymentState.QUEUED, trigger=Trigger.MANUAL)
            for _ in range(2)
        )
        ids = (first.id, second.id)
    words = f"deployment #{first.number} of this app comes first"
    assert f"<p>Waits: {words}.</p>" in page(client, f"/deployments/{ids[1]}")
    html = page(client, f"/deployments/{ids[0]}")
    assert '<dt>Place in queue</dt><dd class="num">' in html
    assert f"waits: {words}" in page(client, "/")


# --- Its parts -------------------------------------------------------------------------------


def test_steps_stand_one_after_the_other_on_a_line_of_a_hundred(database: Database) -> None:
    with database.writing() as session:
        deployment = rows.add_deployment(session, rows.add_app(session))
        rows.add_steps(session, deployment, 2, 6, 2)
        view = deployment_view(session, deployment.id or 0)
    stages = timeline(view, [SectionView(step="build", first=3, last=9)], now())
    assert [(stage.begins, stage.width, stage.line) for stage in stages] == [
        (0, 20, None),
        (20, 60, 3),
        (80, 20, None),
    ]


def test_a_step_that_took_no_time_is_still_seen(database: Database) -> None:
    with database.writing() as session:
        deployment = rows.add_deployment(session, rows.add_app(session))
        rows.add_steps(session, deployment, 10, 0)
        view = deployment_view(session, deployment.id or 0)
    last = timeline(view, [], now())[-1]
    assert last.width == 1.5
    assert last.begins + last.width == 100


def test_the_builds_steps_say_what_was_cached_and_what_took_how_long() -> None:
    def step(number: int, name: str, state: BuildStepState, took: float | None) -> BuildStepView:
        return BuildStepView(number=number, line=number, name=name, state=state, seconds=took)

    html = draw_build(
        [
            step(1, "[internal] load metadata", BuildStepState.DONE, 0.1),
            step(2, "[1/2] FROM <x>", BuildStepState.CACHED, 0),
            step(3, "[2/2] RUN make", BuildStepState.DONE, 9.84),
            step(4, "exporting", BuildStepState.RUNNING, None),
        ]
    )
    assert "internal" not in html
    assert "1 of 3 cached" in html
    assert '<a href="#L2" title="[1/2] FROM &lt;x&gt;">[1/2] FROM &lt;x&gt;</a>' in html
    assert '<span class="num">9.8 s</span>' in html
    assert draw_build([]) == ""


@pytest.mark.parametrize(
    "git_url",
    [
        "https://github.com/octo/web.git",
        "https://github.com/octo/web",
        "https://github.com/octo/web/",
    ],
)
def test_a_commit_is_looked_at_and_compared_on_github(git_url: str) -> None:
    links = commit_links(git_url, GITHUB, SHA, BASE)
    assert links.commit == f"https://github.com/octo/web/commit/{SHA}"
    assert links.compare == f"https://github.com/octo/web/compare/{BASE}...{SHA}"
    assert commit_links(git_url, GITHUB, SHA, "").compare is None
    assert commit_links(git_url, GITHUB, SHA, SHA).compare is None


def test_a_github_of_ones_own_is_linked_too() -> None:
    git_url, api = "https://ghe.example/octo/web.git", "https://ghe.example/api/v3"
    assert (
        commit_links(git_url, api, SHA, "").commit == f"https://ghe.example/octo/web/commit/{SHA}"
    )
    assert commit_links("https://github.com/octo/web.git", api, SHA, "").commit is None


@pytest.mark.parametrize(
    ("git_url", "sha"),
    [
        ("http://github.com/octo/web.git", SHA),
        ("https://github.com.evil.example/octo/web.git", SHA),
        ("https://github.com@evil.example/octo/web", SHA),
        ("https://user:secret@github.com/octo/web", SHA),
        ("https://github.com:8443/octo/web", SHA),
        ("https://github.com/octo/web/../../login", SHA),
        ('https://github.com/octo/web"onclick=x', SHA),
        ("https://git.example/octo/web.git", SHA),
        ("file:///srv/octo/web.git", SHA),
        ("https://github.com/octo/web.git", "main"),
        ("https://github.com/octo/web.git", ""),
    ],
)
def test_nothing_else_becomes_a_link(git_url: str, sha: str) -> None:
    assert commit_links(git_url, GITHUB, sha, BASE).commit is None


# --- The page --------------------------------------------------------------------------------


def test_what_was_live_before_is_what_a_commit_is_compared_with(
    client: TestClient, database: Database
) -> None:
    with database.writing() as session:
        app = rows.add_app(session)
        live = rows.add_deployment(session, app)
        rows.make_live(session, app, live)
        rows.add_deployment(session, app, state=DeploymentState.FAILURE)
        rows.add_deployment(session, app, reason="nothing to do: v1 is live")
        shown = rows.add_deployment(session, app)
        rows.add_deployment(session, app)
    html = page(client, f"/deployments/{shown.id}")
    address = f"https://github.com/octo/web/compare/{live.commit_sha}...{shown.commit_sha}"
    assert f'href="{address}"' in html


def test_a_push_that_changes_nothing_says_so_and_is_not_told_to_have_been_live(
    client: TestClient, database: Database
) -> None:
    with database.writing() as session:
        app = rows.add_app(session)
        rows.make_live(session, app, rows.add_deployment(session, app))
        shown = rows.add_deployment(session, app, reason="nothing to do: v1 is live")
    html = page(client, f"/deployments/{shown.id}")
    assert "Nothing to do: v1 is live" in html
    assert "Nothing was built. What is live goes on serving." in html
    assert "replaced since" not in html


@pytest.mark.parametrize("ref", ["refs/tags/v1", "refs/heads/main"])
def test_a_ref_is_redeployed_as_the_api_takes_it(
    client: TestClient, database: Database, ref: str
) -> None:
    with database.writing() as session:
        deployment = rows.add_deployment(
            session,
            rows.add_app(session),
            ref=ref,
            commit_sha="",
            state=DeploymentState.CANCELLED,
        )
    assert f'name="ref" value="{ref}"' in page(client, f"/deployments/{deployment.id}")


def test_a_deployment_that_is_being_cancelled_says_so_until_it_ends(
    client: TestClient, database: Database
) -> None:
    with database.writing() as session:
        deployment = rows.add_deployment(
            session,
            rows.add_app(session),
            state=DeploymentState.RUNNING,
            cancelled_by="user:grace",
            attempts=2,
        )
        rows.add_steps(session, deployment, 1, 1, last=StepState.RUNNING)
    html = page(client, f"/deployments/{deployment.id}")
    assert "Being cancelled" in html
    assert "<title>web #1: being cancelled · Keystone</title>" in html
    assert "Cancelled by user:grace; it stops as soon as it can." in html
    assert 'disabled="true" title="It is being cancelled"' in html
    assert '<dt>Attempts</dt><dd class="num">2</dd>' in html


def test_a_failure_is_told_with_what_was_said_last(client: TestClient, scene: Scene) -> None:
    html = page(client, f"/deployments/{scene.failed}")
    alert = html[html.index('role="alert"') : html.index('class="run"')]
    assert "Last lines of the log" in alert
    assert "412 packages in 9.8 s" in alert
    assert "Last lines of the log" not in page(client, f"/deployments/{scene.succeeded}")


def test_any_lines_of_a_log_can_be_asked_for(
    client: TestClient, scene: Scene, settings: Settings
) -> None:
    path = long_log(settings, scene.succeeded)
    middle = client.get(f"/deployments/{scene.succeeded}/lines?first=500&most=3")
    assert [line.split('"')[1] for line in middle.text.split("\n")] == ["L500", "L501", "L502"]
    assert middle.headers["x-next-offset"] == "0"
    assert "content-security-policy" in middle.headers
    end = client.get(f"/deployments/{scene.succeeded}/lines?first=999")
    assert end.headers["x-next-offset"] == str(path.stat().st_size)
    past = client.get(f"/deployments/{scene.succeeded}/lines?first=5000&most=5")
    assert (past.status_code, past.text) == (200, "")


def test_lines_that_make_no_sense_are_the_first_ones(
    client: TestClient, scene: Scene, settings: Settings
) -> None:
    long_log(settings, scene.succeeded, 3000)
    for query in ("first=x&most=-1", "first=-9&most=" + "9" * 40, ""):
        text = client.get(f"/deployments/{scene.succeeded}/lines?{query}").text
        assert text.startswith('<div id="L1"')
        assert text.count("<div") == 2000


def test_text_is_looked_for_in_the_whole_log(
    client: TestClient, scene: Scene, settings: Settings
) -> None:
    long_log(settings, scene.succeeded)
    address = f"/deployments/{scene.succeeded}/matches"
    assert client.get(f"{address}?text=LINE+99").json() == {
        "total": 11,
        "lines": [99, *range(990, 1000)],
    }
    nothing = {"total": 0, "lines": []}
    for query in ("text=", "text=" + "x" * 300, "text=none", ""):
        assert client.get(f"{address}?{query}").json() == nothing


def test_lines_are_for_visitors_and_of_deployments_that_exist(
    client: TestClient, scene: Scene, door: Door
) -> None:
    for part in ("lines", "matches"):
        page(client, f"/deployments/999999/{part}", 404)
        page(client, f"/deployments/{'9' * 30}/{part}", 404)
    door.visitor = None
    for part in ("lines", "matches"):
        assert client.get(f"/deployments/{scene.failed}/{part}").status_code == 303


def test_a_deployment_that_takes_long_is_measured_by_now(database: Database) -> None:
    with database.writing() as session:
        deployment = rows.add_deployment(
            session, rows.add_app(session), state=DeploymentState.RUNNING, ago=timedelta(minutes=2)
        )
        rows.add_steps(session, deployment, 60, 1, last=StepState.RUNNING)
        view = deployment_view(session, deployment.id or 0)
    begun = view.steps[0].started_at
    stages = timeline(view, [], begun + timedelta(minutes=2))
    assert 45 < stages[0].width < 55
    assert stages[1].begins + stages[1].width == pytest.approx(100, abs=0.1)
    assert [stage.step for stage in stages[2:]] == [None] * 5
