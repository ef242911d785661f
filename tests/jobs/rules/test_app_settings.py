"""Settings that were kept are read back, whatever their bounds have become since."""

import pytest
from pydantic import ValidationError

from jobs.rules.app_settings import BuildSettings, ContainerSettings, PushRules, Settings
from jobs.states import Health, OnNewPush


@pytest.mark.parametrize("kind", [PushRules, BuildSettings, ContainerSettings])
def test_they_are_what_they_were(kind: type[Settings]) -> None:
    assert kind.kept(kind().model_dump(mode="json")) == kind()
    assert kind.kept({}) == kind()
    assert hash(kind.kept({}).model_dump_json()) == hash(kind().model_dump_json())


def test_types_are_brought_about() -> None:
    found = ContainerSettings.kept(
        {"health": "tcp", "command": ["/web", "x"], "cpus": 1, "volumes": ["a:/b"], "labels": {}}
    )
    assert found.health is Health.TCP
    assert (found.command, found.volumes, found.cpus) == (("/web", "x"), ("a:/b",), 1.0)
    rules = PushRules.kept({"on_new_push": "replace", "watch_paths": ["api/**"]})
    assert rules.on_new_push is OnNewPush.REPLACE
    assert hash(rules) == hash(PushRules(on_new_push=OnNewPush.REPLACE, watch_paths=("api/**",)))


def test_bounds_were_checked_when_they_were_set_and_are_not_again() -> None:
    assert ContainerSettings.kept({"memory_mb": 1, "volumes": ["/etc"]}).memory_mb == 1
    with pytest.raises(ValidationError):
        ContainerSettings(memory_mb=1)


def test_what_a_later_version_has_written_is_left_out() -> None:
    assert ContainerSettings.kept({"memory_mb": 64, "of_tomorrow": 1}).memory_mb == 64
