"""Where the command line knows an imaginary setting; run by `tests/test_one_declaration.py`."""

from pathlib import Path

from tests.jobs.cli.commands import Commands


def test_it_is_an_option_that_tells_its_default(keystone: Commands) -> None:
    told = " ".join(keystone("app", "add", "--help").stdout.split())
    assert "--imaginary-mb" in told
    assert "How much it may imagine [default: 7]" in told
    told = " ".join(keystone("app", "set", "--help").stdout.split())
    assert "--imaginary-mb" in told
    assert "imagine [default" not in told


def test_it_is_set_and_shown_and_its_change_is_on_record(keystone: Commands) -> None:
    keystone("app", "add", "web", "--repository", "octo/web", "--imaginary-mb", "8")
    keystone("app", "set", "web", "--imaginary-mb", "9")
    assert keystone("app", "show", "web", "--json").json["imaginary_mb"] == 9
    assert "imaginary mb" in keystone("app", "show", "web").stdout
    events = keystone("audit", "--json").json["items"]
    changed = next(event for event in events if event["tag"] == "app.changed")
    assert (changed["details"]["before"], changed["details"]["after"]) == (
        {"imaginary_mb": 8},
        {"imaginary_mb": 9},
    )
    wrong = keystone("app", "set", "web", "--imaginary-mb", "10", code=2)
    assert "imaginary_mb" in wrong.stderr


def test_an_apps_file_has_it(keystone: Commands, tmp_path: Path) -> None:
    file = tmp_path / "apps.toml"
    file.write_text('[apps.web]\nrepository = "octo/web"\nimaginary_mb = 8\n')
    keystone("apply", str(file), "--yes")
    assert keystone("app", "show", "web", "--json").json["imaginary_mb"] == 8
    file.write_text("[apps.web]\nimaginary_mb = 9\n")
    told = keystone("apply", str(file), "--yes").stdout
    assert "imaginary mb  8 → 9" in told
    assert keystone("app", "show", "web", "--json").json["imaginary_mb"] == 9
