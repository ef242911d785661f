"""Settings are told when they are an app's own, and left out when they are as they come."""

import pytest
from sqlmodel import Session

from dashboard import app_facts
from dashboard.app_facts import Fact
from jobs.reads.apps import app_view
from jobs.rules.app_fields import field_names
from jobs.rules.app_settings import ContainerSettings
from jobs.settings import Settings
from jobs.states import Capabilities, OnNewPush, Restart
from jobs.storage.database import Database
from tests.dashboard import rows


def told(session: Session, settings: Settings, **fields: object) -> dict[str, str]:
    rows.add_app(session, "web", **fields)
    session.flush()
    return {fact.name: fact.words for fact in app_facts.facts(app_view(session, "web", settings))}


def test_every_setting_has_its_place() -> None:
    assert set(field_names()) >= app_facts.ELSEWHERE


def test_an_app_as_it_comes_tells_little(database: Database, settings: Settings) -> None:
    with database.writing() as session:
        facts = told(session, settings, host_port=20123)
    assert list(facts) == [
        "Repository",
        "Git URL",
        "Token",
        "Branch",
        "Dockerfile",
        "Ports",
        "Health check",
    ]
    assert facts["Ports"] == "20123 → chosen by the image"
    assert facts["Health check"] == "GET /, within 30 s"


@pytest.mark.parametrize(
    ("field", "value", "name", "words"),
    [
        ("on_new_push", OnNewPush.REPLACE, "A newer push", "replaces the running deployment"),
        ("watch_paths", ["api/**", "go.mod"], "Watched paths", "api/**, go.mod"),
        ("tag_pattern", "v*", "Tags that deploy", "v*"),
        ("skip_phrases", [], "Phrases that skip", "none"),
        ("build_target", "prod", "Build target", "prod"),
        ("build_timeout_s", 60, "Build timeout", "60 s"),
        ("health_interval_s", 0.5, "Health interval", "0.5 s"),
        ("command", ["serve", "a b"], "Command", "serve 'a b'"),
        ("memory_mb", 1024, "Memory", "1024 MB"),
        ("cpus", 1.5, "CPUs", "1.5"),
        ("capabilities", Capabilities.NONE, "Capabilities", "none"),
        ("new_privileges", True, "Programs may gain privileges", "on"),
        ("init", False, "Docker's init", "off"),
        ("restart", Restart.ON_FAILURE, "Restart", "when it failed"),
        ("volumes", ["data:/srv"], "Volumes", "data:/srv"),
        ("labels", {"team": "web"}, "Labels", "team=web"),
        ("keep_releases", 9, "Releases kept", "9"),
        ("stop_signal", "SIGQUIT", "Stop signal", "SIGQUIT"),
    ],
)
def test_what_an_app_has_chosen_is_told(
    database: Database, settings: Settings, field: str, value: object, name: str, words: str
) -> None:
    with database.writing() as session:
        assert told(session, settings, **{field: value})[name] == words


def test_the_port_that_the_image_has_chosen_is_told(database: Database, settings: Settings) -> None:
    with database.writing() as session:
        app = rows.add_app(session, "web", host_port=20123)
        release = rows.make_live(session, app, rows.add_deployment(session, app))
        release.container = ContainerSettings(container_port=3000)
        session.flush()
        view = app_view(session, "web", settings)
    assert (view.container_port, view.live_container_port) == (None, 3000)
    assert Fact("Ports", "20123 → 3000 (from the image)") in app_facts.facts(view)
