"""`keystone env`: set, imported, listed, unset; no secret on the command line or on the screen."""

from pathlib import Path

import pytest

from jobs.processes.runtime import Runtime
from jobs.reads.apps import find_app
from jobs.reads.variables import open_variables, variables
from jobs.settings import AllSettings
from tests.jobs.cli.commands import Commands

Inside = Runtime[AllSettings]
PLAIN = "hunter2hunter2"
PEM = "-----BEGIN PRIVATE KEY-----\nMIGHAgEAMBMG\n-----END PRIVATE KEY-----"


@pytest.fixture(autouse=True)
def web(keystone: Commands) -> None:
    """An app to be given variables."""
    keystone("app", "add", "web", "--repository", "octo/web")


def kept(inside: Inside) -> dict[str, tuple[str, bool]]:
    """Give each variable's value, and whether it is secret."""
    with inside.database.reading() as session:
        found = open_variables(session, find_app(session, "web"), inside.vault)
    return {
        name: (variable.value.get_secret_value(), variable.is_secret)
        for name, variable in found.items()
    }


class TestSetting:
    def test_a_plain_value_may_stand_on_the_command_line(
        self, keystone: Commands, inside: Inside
    ) -> None:
        done = keystone("env", "set", "web", "MODE=a=b c")
        assert done.stdout == "MODE is set; `keystone deploy web` gives it to the container.\n"
        assert kept(inside) == {"MODE": ("a=b c", False)}

    def test_a_secret_value_may_not_stand_on_the_command_line(
        self, keystone: Commands, inside: Inside
    ) -> None:
        refused = keystone("env", "set", "web", f"TOKEN={PLAIN}", "--secret", code=2)
        assert "TOKEN: a secret must not be on the command line" in refused.stderr
        assert PLAIN not in refused.stdout + refused.stderr
        assert kept(inside) == {}

    @pytest.mark.parametrize("given", [PLAIN, f"{PLAIN}\n", f"{PLAIN}\r\n"])
    def test_a_secret_comes_from_standard_input(
        self, keystone: Commands, inside: Inside, given: str
    ) -> None:
        done = keystone("env", "set", "web", "TOKEN", "--secret", stdin=given)
        assert PLAIN not in done.stdout + done.stderr
        assert kept(inside) == {"TOKEN": (PLAIN, True)}

    def test_a_value_of_several_lines_is_kept_whole(
        self, keystone: Commands, inside: Inside
    ) -> None:
        keystone("env", "set", "web", "KEY", "--secret", stdin=f"{PEM}\n")
        assert kept(inside) == {"KEY": (PEM, True)}

    def test_an_empty_value_can_be_given_and_none_cannot(
        self, keystone: Commands, inside: Inside
    ) -> None:
        keystone("env", "set", "web", "EMPTY=")
        refused = keystone("env", "set", "web", "NONE", code=2)
        assert "NONE: nothing was given on standard input" in refused.stderr
        assert kept(inside) == {"EMPTY": ("", False)}

    @pytest.mark.parametrize(
        ("variable", "sentence"),
        [
            ("A/B=x", "'A/B': a variable's name has letters"),
            ("PORT=1", "PORT: Keystone sets this one itself"),
            (f"A={'x' * 65537}", "A: a value may have at most 65536 bytes"),
        ],
    )
    def test_an_invalid_variable_is_refused(
        self, keystone: Commands, inside: Inside, variable: str, sentence: str
    ) -> None:
        assert sentence in keystone("env", "set", "web", variable, code=2).stderr
        assert kept(inside) == {}

    def test_an_app_that_does_not_exist_is_named(self, keystone: Commands) -> None:
        assert "no app named 'api'" in keystone("env", "set", "api", "A=1", code=3).stderr


class TestKinds:
    def test_a_secret_on_the_command_line_is_kept_as_one_with_a_warning(
        self, keystone: Commands, inside: Inside
    ) -> None:
        done = keystone("env", "set", "web", f"API_KEY={PLAIN}")
        assert done.stdout.startswith("API_KEY is set as a secret; ")
        assert done.stderr.startswith("API_KEY: the value was on the command line")
        assert PLAIN not in done.stdout + done.stderr
        assert kept(inside) == {"API_KEY": (PLAIN, True)}

    def test_plain_can_be_said_and_stays_said(self, keystone: Commands, inside: Inside) -> None:
        assert keystone("env", "set", "web", "MAIN_KEY=a", "--plain").stderr == ""
        keystone("env", "set", "web", "MAIN_KEY=b")
        assert kept(inside) == {"MAIN_KEY": ("b", False)}

    def test_a_secret_that_logs_show_is_told(self, keystone: Commands, inside: Inside) -> None:
        done = keystone("env", "set", "web", "PASSWORD", stdin="production\n")
        assert "Logs show the value of PASSWORD: it is a common word" in done.stdout
        assert "production" not in done.stdout
        assert kept(inside) == {"PASSWORD": ("production", True)}


class TestImporting:
    TEXT = f"# mine\nexport MODE=fast\nTOKEN='{PLAIN}' # a comment\n"

    def test_every_variable_of_a_file_is_set(
        self, keystone: Commands, inside: Inside, tmp_path: Path
    ) -> None:
        file = tmp_path / "my.env"
        file.write_text(self.TEXT)
        done = keystone("env", "import", "web", str(file))
        assert done.stdout == (
            "2 variables are set; `keystone deploy web` gives them to it. Secrets: TOKEN.\n"
        )
        assert kept(inside) == {"MODE": ("fast", False), "TOKEN": (PLAIN, True)}

    def test_secrets_can_be_imported_from_standard_input(
        self, keystone: Commands, inside: Inside
    ) -> None:
        done = keystone("env", "import", "web", "-", "--secret", stdin=self.TEXT)
        assert PLAIN not in done.stdout + done.stderr
        assert kept(inside) == {"MODE": ("fast", True), "TOKEN": (PLAIN, True)}

    def test_bad_lines_are_all_told_and_nothing_is_set(
        self, keystone: Commands, inside: Inside
    ) -> None:
        text = f"A=1\nB C={PLAIN}\n\nPORT={PLAIN}\nD\n"
        refused = keystone("env", "import", "web", "-", stdin=text, code=2)
        assert refused.stderr.splitlines() == [
            "keystone: line 2: is not NAME=value",
            "keystone: line 4: PORT: Keystone sets this one itself",
            "keystone: line 5: D has no value; write D= if it is to be empty",
        ]
        assert PLAIN not in refused.stderr
        assert kept(inside) == {}

    @pytest.mark.parametrize(
        ("content", "sentence"),
        [(None, "cannot be read (No such file"), (b"\xff\xfe", "holds no text in UTF-8")],
    )
    def test_a_file_that_cannot_be_read_is_said(
        self, keystone: Commands, tmp_path: Path, content: bytes | None, sentence: str
    ) -> None:
        file = tmp_path / "my.env"
        if content is not None:
            file.write_bytes(content)
        told = keystone("env", "import", "web", str(file), code=2).stderr
        assert told.startswith(f"keystone: {file} {sentence}")


class TestListing:
    def test_secret_values_are_not_shown(self, keystone: Commands) -> None:
        keystone("env", "set", "web", "MODE=fast")
        keystone("env", "set", "web", "TOKEN", "--secret", stdin=PLAIN)
        table = keystone("env", "list", "web").stdout
        assert [line.split() for line in table.splitlines()] == [
            ["Name", "Value"],
            ["MODE", "fast"],
            ["TOKEN", "(secret)"],
        ]
        listed = keystone("env", "list", "web", "--json")
        assert PLAIN not in table + listed.stdout
        assert {item["name"]: item["value"] for item in listed.json["items"]} == {
            "MODE": "fast",
            "TOKEN": None,
        }

    def test_a_value_cannot_play_tricks_on_the_terminal(self, keystone: Commands) -> None:
        keystone("env", "set", "web", "A=\x1b[31mred\x1b]0;title\x07")
        assert "\x1b" not in keystone("env", "list", "web").stdout

    def test_without_any_it_says_how_to_set_one(self, keystone: Commands) -> None:
        assert keystone("env", "list", "web").stdout == (
            "web has no variables; `keystone env set web`\n"
        )


def test_a_variable_can_be_unset(keystone: Commands, inside: Inside) -> None:
    keystone("env", "set", "web", "A=1")
    keystone("env", "set", "web", "B=2")
    keystone("env", "unset", "web", "A")
    assert kept(inside) == {"B": ("2", False)}
    assert "no variable named 'A'" in keystone("env", "unset", "web", "A", code=3).stderr


class TestTellingPrograms:
    @pytest.fixture(autouse=True)
    def other(self, keystone: Commands) -> None:
        """A variable that is not spoken of."""
        keystone("env", "set", "web", "AAA=other")

    def listed(self, keystone: Commands) -> list[dict[str, object]]:
        """Give the variables that a test set, as the list tells of them."""
        items = keystone("env", "list", "web", "--json").json["items"]
        return [item for item in items if item["name"] != "AAA"]

    def test_the_variable_that_was_set(self, keystone: Commands) -> None:
        told = keystone("env", "set", "web", "MODE=fast", "--json").json
        assert (told["name"], told["secret"], told["value"]) == ("MODE", False, "fast")
        assert told.pop("notes") == []
        assert self.listed(keystone) == [told]

    def test_a_secret_without_its_value(self, keystone: Commands) -> None:
        told = keystone("env", "set", "web", "TOKEN", "--secret", "--json", stdin=PLAIN)
        assert (told.json["secret"], told.json["value"]) == (True, None)
        assert PLAIN not in told.stdout

    @pytest.mark.parametrize("text", [TestImporting.TEXT, ""])
    def test_those_that_were_imported(self, keystone: Commands, text: str) -> None:
        told = keystone("env", "import", "web", "-", "--json", stdin=text).json
        assert told == {"items": self.listed(keystone), "next": None, "notes": []}
        assert [item["name"] for item in told["items"]] == (["MODE", "TOKEN"] if text else [])

    def test_the_one_that_is_gone(self, keystone: Commands) -> None:
        keystone("env", "set", "web", "MODE=fast")
        assert keystone("env", "unset", "web", "MODE", "--json").json == {"removed": "MODE"}
        assert self.listed(keystone) == []
        assert keystone("env", "unset", "web", "AAA").stdout == (
            "AAA is gone; `keystone deploy web` takes it from the container.\n"
        )


def test_what_is_sealed_with_a_lost_key_keeps_nobody_from_setting_another(
    keystone: Commands, inside: Inside
) -> None:
    keystone("env", "set", "web", "LOST=1")
    with inside.database.writing() as session:
        variables(session, find_app(session, "web"))[0].sealed = b"with a key that is not here"
    keystone("env", "set", "web", "MODE=fast")
    keystone("env", "set", "web", "MODE=slow", "--json", code=2)
    keystone("env", "set", "web", "LOST=2")
    assert kept(inside) == {"LOST": ("2", False), "MODE": ("fast", False)}
