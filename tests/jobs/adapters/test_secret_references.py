"""Where an apps file may take secrets from, and where it may not, however it is written."""

import os
import socket
from dataclasses import replace
from pathlib import Path

import pytest
from pydantic import SecretStr

from jobs.adapters.secret_references import Surroundings, find_secret
from jobs.errors import ConfigurationError
from jobs.rules.variables import LARGEST_VALUE

KEY = SecretStr("the key that opens all the other secrets")
ENVIRON = {
    "WEB_TOKEN": "a token",
    "KEYSTONE_SECRET_KEY": KEY.get_secret_value(),
    "MINE": f"{KEY.get_secret_value()},an older one",
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with a secret in it; Keystone's data directory lies in it, too."""
    folder = tmp_path / "apps"
    (folder / "secrets").mkdir(parents=True)
    (folder / "secrets" / "key").write_text("an api key\n")
    (folder / "data").mkdir()
    (folder / "data" / "keystone.db").write_text("rows")
    (folder / ".env").write_text("KEYSTONE_GITHUB_TOKEN=ghp_x")
    (tmp_path / "outside").write_text("nobody's business")
    return folder


@pytest.fixture
def around(folder: Path) -> Surroundings:
    own = [folder / "data", folder / ".env", folder / "none"]
    return Surroundings(ENVIRON, folder, own=own, keys=[KEY])


def file(path: str, around: Surroundings) -> str:
    return find_secret(around, {"file": path}).get_secret_value()


class TestFiles:
    @pytest.mark.parametrize("path", ["secrets/key", "secrets/../secrets/key", "./secrets//key"])
    def test_below_the_folder_they_are_read(self, around: Surroundings, path: str) -> None:
        assert file(path, around) == "an api key"

    def test_an_absolute_path_may_lead_below_it_too(self, around: Surroundings) -> None:
        assert file(f"{around.folder}/secrets/key", around) == "an api key"

    def test_a_link_may_lead_to_another_place_below_it(self, around: Surroundings) -> None:
        (around.folder / "link").symlink_to("secrets/key")
        assert file("link", around) == "an api key"

    def test_the_folder_may_be_reached_by_a_link(self, around: Surroundings) -> None:
        link = around.folder.parent / "link"
        link.symlink_to(around.folder)
        assert file("secrets/key", replace(around, folder=link)) == "an api key"

    @pytest.mark.parametrize(
        "path",
        ["../outside", "secrets/../../outside", "/etc/passwd", "link", "secrets/to/passwd"],
    )
    def test_nothing_outside_is_read(self, around: Surroundings, path: str) -> None:
        (around.folder / "link").symlink_to("../outside")
        (around.folder / "secrets" / "to").symlink_to("/etc")
        with pytest.raises(
            ConfigurationError, match=r"is not below .*/apps.* say --files-from DIR"
        ):
            file(path, around)

    def test_a_folder_whose_name_only_begins_alike_is_outside(self, around: Surroundings) -> None:
        (around.folder.parent / "apps-of-others").write_text("x")
        with pytest.raises(ConfigurationError, match="is not below"):
            file("../apps-of-others", around)

    def test_another_folder_may_be_allowed(self, around: Surroundings) -> None:
        allowed = replace(around, others=[around.folder.parent])
        assert file("../outside", allowed) == "nobody's business"
        with pytest.raises(ConfigurationError, match="is not below"):
            file("/etc/passwd", allowed)

    @pytest.mark.parametrize("path", ["data/keystone.db", ".env", "link", "second-name"])
    def test_keystones_own_files_are_not_read(self, around: Surroundings, path: str) -> None:
        (around.folder / "link").symlink_to("data/keystone.db")
        (around.folder / "second-name").hardlink_to(around.folder / ".env")
        for surroundings in (around, replace(around, others=[Path("/")])):
            with pytest.raises(ConfigurationError, match="one of Keystone's own files"):
                file(path, surroundings)

    def test_a_copy_of_keystones_key_is_not_handed_out(self, around: Surroundings) -> None:
        (around.folder / "copy").write_text(f"older,{KEY.get_secret_value()}\n")
        with pytest.raises(ConfigurationError, match="Keystone's own key") as refused:
            file("copy", around)
        assert KEY.get_secret_value() not in str(refused.value)

    def test_what_is_no_ordinary_file_is_refused_at_once(
        self, around: Surroundings, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        os.mkfifo(around.folder / "pipe")
        with socket.socket(socket.AF_UNIX) as listener:
            monkeypatch.chdir(around.folder)  # the path of a socket must be short
            listener.bind("socket")
        for path in ("pipe", "socket", "secrets", "."):
            with pytest.raises(ConfigurationError, match="is not an ordinary file"):
                file(path, around)
        for path in ("/dev/zero", "/dev/tty0", "/dev/stdin"):
            with pytest.raises(ConfigurationError, match=r"not an ordinary file|cannot be read"):
                file(path, replace(around, others=[Path("/")]))

    @pytest.mark.parametrize(
        ("content", "length"),
        [(b"x" * LARGEST_VALUE, LARGEST_VALUE), (b"x" * LARGEST_VALUE + b"\r\n", LARGEST_VALUE)],
        ids=["bare", "with a line end"],
    )
    def test_the_longest_value_is_read_whole(
        self, around: Surroundings, content: bytes, length: int
    ) -> None:
        (around.folder / "long").write_bytes(content)
        assert len(file("long", around)) == length

    def test_a_longer_one_is_refused_and_not_cut(self, around: Surroundings) -> None:
        with (around.folder / "long").open("wb") as long:
            long.truncate(1 << 40)
        with pytest.raises(ConfigurationError, match="is too long: at most 65536 bytes"):
            file("long", around)

    @pytest.mark.parametrize(
        ("path", "sentence"),
        [
            ("secrets/none", "cannot be read"),
            ("secrets/key/none", "cannot be read"),
            ("a\0b", "cannot be read"),
            ("x" * 5000, "cannot be read"),
            ("loop", "cannot be read"),
            ("empty", "is empty"),
            ("bytes", "holds no text in UTF-8, but in UTF-16"),
        ],
        ids=lambda text: text[:12],
    )
    def test_what_cannot_be_read_is_told(
        self, around: Surroundings, path: str, sentence: str
    ) -> None:
        (around.folder / "loop").symlink_to("loop")
        (around.folder / "empty").touch()
        (around.folder / "bytes").write_bytes(b"\xff\xfe")
        with pytest.raises(ConfigurationError, match=sentence):
            file(path, around)


class TestVariables:
    def test_they_are_read(self, around: Surroundings) -> None:
        assert find_secret(around, {"env": "WEB_TOKEN"}) == SecretStr("a token")

    @pytest.mark.parametrize(
        ("name", "sentence"),
        [
            ("NONE", "NONE is not set"),
            ("KEYSTONE_SECRET_KEY", "Keystone's own settings"),
            ("KEYSTONE_NONE", "Keystone's own settings"),
            ("MINE", "Keystone's own key"),
        ],
    )
    def test_keystones_own_are_not(self, around: Surroundings, name: str, sentence: str) -> None:
        with pytest.raises(ConfigurationError, match=sentence) as refused:
            find_secret(around, {"env": name})
        assert KEY.get_secret_value() not in str(refused.value)


@pytest.mark.parametrize(
    "reference", [{}, {"env": "A", "file": "b"}, {"env": 1}, {"file": ["x"]}, {"key": "x"}]
)
def test_anything_else_is_refused(around: Surroundings, reference: dict[str, object]) -> None:
    with pytest.raises(ConfigurationError, match="and nothing else"):
        find_secret(around, reference)
