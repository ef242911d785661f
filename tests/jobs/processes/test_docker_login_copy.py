"""Root's docker configuration, for workers who cannot read it."""

import os
from pathlib import Path

import pytest

from jobs.processes.docker_login_copy import LARGEST, DockerLoginCopy, sources, told_to_workers


@pytest.fixture
def copies(tmp_path: Path) -> DockerLoginCopy:
    """Copies of what a home holds, for ourselves."""
    for name in ("home/.docker", "copies"):
        (tmp_path / name).mkdir(parents=True)
    return DockerLoginCopy(sources({}, tmp_path / "home"), tmp_path / "copies", os.getuid())


def log_in(copies: DockerLoginCopy, text: str) -> None:
    """Write the file as `docker login` does."""
    draft = copies.files["config.json"].with_suffix(".tmp")
    draft.write_text(text)
    draft.replace(copies.files["config.json"])


def copied(copies: DockerLoginCopy) -> dict[str, str]:
    return {path.name: path.read_text() for path in copies.folder.iterdir()}


def test_the_configuration_is_copied_for_one_user_only(copies: DockerLoginCopy) -> None:
    log_in(copies, "a login")
    copies.files["ca.pem"].write_text("an authority")
    copies.refresh()
    assert copied(copies) == {"config.json": "a login", "ca.pem": "an authority"}
    assert {path.stat().st_mode & 0o777 for path in copies.folder.iterdir()} == {0o400}


def test_a_change_is_copied_and_what_is_gone_is_taken_away(copies: DockerLoginCopy) -> None:
    log_in(copies, "a login")
    copies.refresh()
    log_in(copies, "another")
    copies.refresh()
    assert copied(copies) == {"config.json": "another"}
    copies.files["config.json"].unlink()
    copies.refresh()
    assert copied(copies) == {}


def test_what_has_not_changed_is_left_alone(copies: DockerLoginCopy) -> None:
    log_in(copies, "a login")
    copies.refresh()
    before = (copies.folder / "config.json").stat().st_ino
    copies.refresh()
    assert (copies.folder / "config.json").stat().st_ino == before


def test_what_an_earlier_one_has_left_is_replaced(copies: DockerLoginCopy) -> None:
    (copies.folder / "config.json").write_text("of before")
    (copies.folder / "config.json.draft").write_text("half")
    log_in(copies, "a login")
    copies.refresh()
    assert copied(copies) == {"config.json": "a login"}
    (copies.folder / "key.pem").write_text("of before")
    DockerLoginCopy(copies.files, copies.folder, copies.uid).refresh()
    assert copied(copies) == {"config.json": "a login"}


def test_a_configuration_that_cannot_be_copied_is_tried_again(
    copies: DockerLoginCopy, tmp_path: Path
) -> None:
    log_in(copies, "a login")
    copies.folder.rmdir()
    copies.refresh()
    copies.folder.mkdir()
    copies.refresh()
    assert copied(copies) == {"config.json": "a login"}


def test_what_is_no_file_or_far_too_large_does_no_harm(copies: DockerLoginCopy) -> None:
    copies.files["ca.pem"].mkdir()
    os.mkfifo(copies.files["key.pem"])
    log_in(copies, "x" * (LARGEST + 1000))
    copies.refresh()
    assert set(copied(copies)) == {"config.json"}
    # Too large still, so that the reader refuses it as it would the file itself.
    assert len(copied(copies)["config.json"]) == LARGEST + 1


def test_the_configuration_is_read_where_docker_reads_it(tmp_path: Path) -> None:
    usual = sources({}, tmp_path)
    assert usual["config.json"] == tmp_path / ".docker" / "config.json"
    elsewhere = sources({"DOCKER_CONFIG": "/etc/d", "DOCKER_CERT_PATH": "/etc/c"}, tmp_path)
    assert elsewhere["config.json"] == Path("/etc/d/config.json")
    assert elsewhere["key.pem"] == Path("/etc/c/key.pem")


@pytest.mark.parametrize("name", ["DOCKER_TLS_VERIFY", "DOCKER_CERT_PATH"])
def test_workers_are_told_where_the_copies_are(name: str) -> None:
    copies = Path("/data/run/docker")
    assert told_to_workers({}, copies) == {"DOCKER_CONFIG": str(copies)}
    assert told_to_workers({name: "1"}, copies)["DOCKER_CERT_PATH"] == str(copies)
