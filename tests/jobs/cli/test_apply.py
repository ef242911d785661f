"""`keystone apply`: the difference first, then all of it or nothing."""

from pathlib import Path

import pytest
from pydantic import SecretStr

from jobs.processes.runtime import Runtime
from jobs.reads.apps import find_app
from jobs.reads.audit import AuditFilter, audit_page
from jobs.reads.secrets import repository_token
from jobs.reads.variables import open_variables
from jobs.settings import AllSettings
from tests.jobs.cli.commands import Commands

Inside = Runtime[AllSettings]

TOKEN = "ghp_a-token-nobody-may-see"
TOKEN_LINE = '{ env = "WEB_TOKEN" }'
FILE = """
[apps.web]
repository = "octo/web"
memory_mb = 256
domains = ["www.example.com", "example.com"]
command = ["./web", "--fast"]
labels = { team = "blue" }
token = { env = "WEB_TOKEN" }

[apps.web.env]
LOG_LEVEL = "info"
API_KEY = { file = "secrets/api-key" }

[apps.api]
repository = "octo/api"
health_path = "/up"
"""


class File:
    """An apps file, with a secret in a file beside it."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "apps.toml"
        self.write(FILE)
        (folder / "secrets").mkdir()
        self.keep_secret("an api key nobody may see")

    def write(self, text: str) -> None:
        """Replace what it says."""
        self.path.write_text(text)

    def change(self, old: str, new: str) -> None:
        """Replace a part of what it says."""
        text = self.path.read_text()
        assert old in text
        self.write(text.replace(old, new))

    def keep_secret(self, value: str) -> None:
        """Replace the secret."""
        (self.path.parent / "secrets" / "api-key").write_text(f"{value}\n")

    def __str__(self) -> str:
        return str(self.path)


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> File:
    """An apps file of two apps."""
    monkeypatch.setenv("WEB_TOKEN", TOKEN)
    return File(tmp_path)


@pytest.fixture
def applied(keystone: Commands, file: File) -> File:
    """An apps file that was applied already."""
    keystone("apply", str(file), "--yes")
    return file


def tags(inside: Inside) -> list[str]:
    """Read what is on record, oldest first."""
    with inside.database.reading() as session:
        events = audit_page(session, AuditFilter(limit=100)).items
    return [event.tag for event in reversed(events)]


def test_apps_are_made_as_the_file_says(keystone: Commands, inside: Inside, file: File) -> None:
    told = keystone("apply", str(file), "--yes").stdout
    assert "+ web" in told
    assert "octo/web/settings/hooks/new" in told
    web = keystone("app", "show", "web", "--json").json
    assert (web["memory_mb"], web["command"]) == (256, ["./web", "--fast"])
    assert (web["domains"], web["labels"]) == (["www.example.com", "example.com"], {"team": "blue"})
    assert keystone("app", "show", "api", "--json").json["health_path"] == "/up"
    with inside.database.reading() as session:
        app = find_app(session, "web")
        variables = open_variables(session, app, inside.vault)
        token = repository_token(session, app.repository_id, inside.vault)
    assert token == SecretStr(TOKEN)
    assert variables["API_KEY"].value == SecretStr("an api key nobody may see")
    assert (variables["API_KEY"].is_secret, variables["LOG_LEVEL"].is_secret) == (True, False)


def test_each_change_is_on_record_as_by_the_single_commands(
    applied: File, keystone: Commands, inside: Inside
) -> None:
    made = tags(inside)
    for tag in ("repository.created", "app.created", "repository.token_set", "environment.set"):
        assert tag in made
    applied.change("memory_mb = 256", "memory_mb = 128")
    keystone("apply", str(applied), "--yes")
    assert tags(inside) == [*made, "app.changed"]


def test_a_second_time_there_is_nothing_to_do(
    applied: File, keystone: Commands, inside: Inside
) -> None:
    before = tags(inside)
    again = keystone("apply", str(applied))  # without a terminal, and nobody needs to be asked
    assert again.stdout == f"Nothing to do: everything is as {applied} says.\n"
    assert tags(inside) == before


def kinds(inside: Inside) -> dict[str, bool]:
    """Give the app's variables, and whether each is a secret."""
    with inside.database.reading() as session:
        found = open_variables(session, find_app(session, "web"), inside.vault)
    return {name: variable.is_secret for name, variable in found.items()}


def test_the_kind_of_a_variable_is_as_the_file_says_or_as_it_looks(
    keystone: Commands, inside: Inside, file: File
) -> None:
    file.change(
        'LOG_LEVEL = "info"',
        'LOG_LEVEL = "info"\nSALT = "as it looks"\n'
        'SORT_KEY = { value = "by-name", secret = false }\n'
        'MODE = { env = "WEB_TOKEN", secret = false }\n'
        '"discovery.type" = "single-node"',
    )
    keystone("apply", str(file), "--yes")
    before = {"LOG_LEVEL": False, "SALT": True, "SORT_KEY": False, "MODE": False}
    assert kinds(inside) == {**before, "API_KEY": True, "discovery.type": False}
    assert keystone("apply", str(file)).stdout.startswith("Nothing to do")
    keystone("env", "set", "web", "SALT=as it looks", "--plain")
    keystone("env", "set", "web", "LOG_LEVEL=info", "--secret", code=2)
    keystone("env", "set", "web", "LOG_LEVEL", "--secret", stdin="info")
    assert keystone("apply", str(file)).stdout.startswith("Nothing to do")


def test_a_secret_that_logs_show_is_told(keystone: Commands, file: File) -> None:
    file.keep_secret("production")
    told = keystone("apply", str(file), "--yes").stdout
    assert "Logs show the value of API_KEY: it is a common word" in told
    assert "production" not in told


@pytest.mark.parametrize(
    ("line", "sentence"),
    [
        ('discovery.type = "x"', 'if the dot belongs to the name, quote it: "discovery.type" = …'),
        ('A = { env = "X", secret = "yes" }', "secret is true or false"),
        ("A = { secret = true }", "write { env ="),
        ('A = { value = "x", file = "y" }', "write { env ="),
    ],
)
def test_a_table_that_is_no_variable_is_refused_with_what_to_write(
    keystone: Commands, file: File, line: str, sentence: str
) -> None:
    file.change('LOG_LEVEL = "info"', line)
    refused = keystone("apply", str(file), "--yes", code=2).stderr
    assert "apps.web.env." in refused
    assert sentence in refused


def test_the_difference_is_shown_without_secrets(applied: File, keystone: Commands) -> None:
    applied.change("memory_mb = 256", "memory_mb = 128")
    applied.change('LOG_LEVEL = "info"', 'LOG_LEVEL = "debug"')
    applied.keep_secret("another api key")
    told = keystone("apply", str(applied), "--dry-run").stdout
    assert "~ web" in told
    assert "api" not in told.split()
    for line in ("256 → 128", "info → debug", "(secret) → (another secret)"):
        assert line in told
    assert "another api key" not in told
    assert keystone("app", "show", "web", "--json").json["memory_mb"] == 256


def test_a_program_is_told_the_difference(applied: File, keystone: Commands) -> None:
    applied.change("memory_mb = 256", "memory_mb = 128")
    applied.change('"www.example.com", "example.com"', '"example.com"')
    told = keystone("apply", str(applied), "--dry-run", "--json").json
    (item,) = told["items"]
    assert (item["app"], item["action"], told["applied"]) == ("web", "change", False)
    assert item["fields"] == {
        "memory_mb": {"before": 256, "after": 128},
        "domains": {"before": ["www.example.com", "example.com"], "after": ["example.com"]},
    }
    done = keystone("apply", str(applied), "--yes", "--json").json
    assert (done["items"], done["applied"]) == (told["items"], True)
    assert "add --yes or --dry-run" in keystone("apply", str(applied), "--json", code=2).stderr


@pytest.mark.parametrize("is_named", [True, False])
def test_a_token_goes_to_another_server_only_if_the_file_names_it(
    applied: File, keystone: Commands, *, is_named: bool
) -> None:
    elsewhere = 'git_url = "https://git.example/octo/web.git"\n'
    token = 'token = { env = "WEB_TOKEN" }\n'
    applied.change(token, elsewhere + token if is_named else elsewhere)
    done = keystone("apply", str(applied), "--yes", "--json").json
    assert keystone("app", "show", "web", "--json").json["token_set"] is is_named
    assert len(done["notes"]) == (0 if is_named else 1)
    assert "Nothing to do" in keystone("apply", str(applied)).stdout


def test_a_program_is_given_the_secrets_of_new_webhooks(keystone: Commands, file: File) -> None:
    told = keystone("apply", str(file), "--yes", "--json")
    assert [each["app"] for each in told.json["webhooks"]] == ["web", "api"]
    assert all(len(each["secret"]) >= 32 for each in told.json["webhooks"])
    assert TOKEN not in told.stdout


def test_without_a_terminal_it_wants_a_yes(keystone: Commands, file: File) -> None:
    refused = keystone("apply", str(file), code=2)
    assert "+ web" in refused.stdout
    assert "say --yes" in refused.stderr
    assert keystone("app", "list", "--json").json["items"] == []


def test_what_the_file_does_not_name_is_left_alone(applied: File, keystone: Commands) -> None:
    keystone("app", "add", "other", "--repository", "octo/other")
    keystone("app", "set", "web", "--pids", "77")
    keystone("env", "set", "web", "MORE=of it")
    before = keystone("app", "list", "--json").json
    applied.change("memory_mb = 256", "memory_mb = 256\nbranch = 'main'")
    assert "Nothing to do" in keystone("apply", str(applied)).stdout
    assert keystone("app", "list", "--json").json == before


def test_an_empty_text_takes_away_what_may_be_none(applied: File, keystone: Commands) -> None:
    applied.change('health_path = "/up"', 'health_path = ""')
    assert "/up → none" in keystone("apply", str(applied), "--yes").stdout
    assert keystone("app", "show", "api", "--json").json["health_path"] is None
    assert "Nothing to do" in keystone("apply", str(applied)).stdout


def test_a_domain_moves_from_one_app_of_the_file_to_another(
    applied: File, keystone: Commands
) -> None:
    applied.change(', "example.com"]', "]")
    applied.change('health_path = "/up"', 'health_path = "/up"\ndomains = ["example.com"]')
    text = applied.path.read_text()
    head, _, api = text.partition("[apps.api]")
    applied.write(f"[apps.api]{api}\n{head}")  # whoever takes it stands first
    keystone("apply", str(applied), "--yes")
    assert keystone("app", "show", "api", "--json").json["domains"] == ["example.com"]


def test_every_mistake_is_told_with_its_place_and_nothing_is_changed(
    keystone: Commands, file: File
) -> None:
    file.write(
        """
        app = 1
        [apps.Web]
        brnch = "main"
        repository = "octo"
        token = "ghp_in-the-file"
        env = { PORT = "1", LEVEL = 3, KEY = { environ = "X" }, GONE = { env = "NOT_SET" } }
        [apps.api]
        memory_mb = "much"
        command = "./web"
        """
    )
    told = keystone("apply", str(file), "--yes", code=2).stderr
    for sentence in (
        "app: there is no such field; did you mean apps?",
        "apps.Web: use 1 to 63 lower-case letters",
        "apps.Web.brnch: there is no such field; did you mean branch?",
        'apps.Web.repository: write the repository as "owner/name"',
        "apps.Web.token: a secret must not stand in this file; write { env =",
        "apps.Web.env.PORT: Keystone sets this one itself",
        "apps.Web.env.LEVEL: write the value in quotes",
        "apps.Web.env.KEY: write { env =",
        "apps.Web.env.GONE: the environment variable NOT_SET is not set",
        "apps.api.memory_mb: ",
        "apps.api.command: ",
    ):
        assert f"keystone: {sentence}" in told
    assert "ghp_in-the-file" not in told
    assert keystone("app", "list", "--json").json["items"] == []


@pytest.mark.parametrize(
    ("old", "new", "sentence", "code"),
    [
        ('repository = "octo/api"', "", "apps.api.repository: is required", 2),
        ("memory_mb = 256", "host_port = 1", "apps.web.host_port: 1 is outside", 2),
        ("memory_mb = 256", "container_port = true", "apps.web.container_port: Input", 2),
        ("memory_mb = 256", 'container_port = "80"', "apps.web.container_port: Input", 2),
        ("memory_mb = 256", "auto_deploy = 1", "apps.web.auto_deploy: Input", 2),
        ('health_path = "/up"', 'domains = ["example.com"]', "belongs to web already", 4),
        ('health_path = "/up"', 'git_url = "http://x/y"', "apps.api.git_url: http is not", 2),
        ("secrets/api-key", "secrets/gone", "apps.web.env.API_KEY: ", 2),
        ("[apps.api]", "[apps.api", "it is not TOML", 2),
        ("[apps.api]", "[apps.web]", "it is not TOML", 2),
    ],
)
def test_one_mistake_keeps_all_of_it_from_being_applied(
    keystone: Commands, file: File, old: str, new: str, sentence: str, code: int
) -> None:
    file.change(old, new)
    refused = keystone("apply", str(file), "--yes", code=code)
    assert sentence in refused.stderr
    assert refused.stdout == ""
    assert keystone("app", "list", "--json").json["items"] == []


def test_an_app_keeps_its_repository(applied: File, keystone: Commands) -> None:
    applied.change('repository = "octo/api"', 'repository = "OCTO/api"')
    assert "Nothing to do" in keystone("apply", str(applied)).stdout
    applied.change('repository = "OCTO/api"', 'repository = "octo/other"')
    refused = keystone("apply", str(applied), "--yes", code=4)
    assert "apps.api.repository: an app keeps its repository" in refused.stderr
    applied.change('repository = "octo/other"', "")
    assert "Nothing to do" in keystone("apply", str(applied)).stdout


def test_the_apps_file_can_come_from_standard_input(keystone: Commands, inside: Inside) -> None:
    text = '[apps.web]\nrepository = "octo/web"\n'
    keystone("apply", "-", "--yes", stdin=text)
    with inside.database.reading() as session:
        assert find_app(session, "web").id
    assert "cannot be read" in keystone("apply", "/nowhere/apps.toml", code=2).stderr


class TestWhatAFileMayNotHave:
    """It may be somebody else's, and whoever applies it is often root."""

    @pytest.mark.parametrize(
        ("reference", "sentence"),
        [
            ('{ file = "/etc/passwd" }', "is not below "),
            ('{ file = "../elsewhere" }', "is not below "),
            ('{ file = "data/secret.key" }', "one of Keystone's own files"),
            ('{ file = ".env" }', "one of Keystone's own files"),
            ('{ file = "kept-secret" }', "one of Keystone's own files"),
            ('{ env = "KEYSTONE_ADMIN_PASSWORD_FILE" }', "Keystone's own settings"),
            ('{ env = "COPIED" }', "Keystone's own key"),
        ],
    )
    def test_it_is_told_where_and_nothing_is_applied(
        self,
        keystone: Commands,
        file: File,
        monkeypatch: pytest.MonkeyPatch,
        reference: str,
        sentence: str,
    ) -> None:
        folder = file.path.parent
        monkeypatch.chdir(folder)
        (folder / ".env").write_text("KEYSTONE_WORKERS=3")
        (folder / "kept-secret").write_text("another long password")
        (folder.parent / "elsewhere").write_text("x")
        monkeypatch.setenv("KEYSTONE_ADMIN_PASSWORD_FILE", "kept-secret")
        monkeypatch.setenv("COPIED", (folder / "data" / "secret.key").read_text())
        for old, place in (('{ file = "secrets/api-key" }', "env.API_KEY"), (TOKEN_LINE, "token")):
            file.write(FILE.replace(old, reference))
            refused = keystone("apply", str(file), "--yes", "--files-from", "/usr", code=2)
            assert refused.stderr.startswith(f"keystone: apps.web.{place}: ")
            assert sentence in refused.stderr
        assert keystone("app", "list", "--json").json["items"] == []

    def test_another_folder_can_be_allowed(
        self, keystone: Commands, file: File, tmp_path_factory: pytest.TempPathFactory
    ) -> None:
        elsewhere = tmp_path_factory.mktemp("elsewhere")
        (elsewhere / "key").write_text("of another folder")
        file.change("secrets/api-key", str(elsewhere / "key"))
        assert "is not below" in keystone("apply", str(file), "--yes", code=2).stderr
        keystone(
            "apply", str(file), "--yes", "--files-from", "/usr", "--files-from", str(elsewhere)
        )

    def test_depth_and_length_end_in_a_sentence(self, keystone: Commands, file: File) -> None:
        file.write("[" * 20_000)
        told = keystone("apply", str(file), "--dry-run", code=2).stderr
        assert told == "keystone: this file cannot be read: it is nested too deeply (at line 1)\n"
        file.write("# " + "x" * 1024 * 1024)
        assert "is too long: at most" in keystone("apply", str(file), "--dry-run", code=2).stderr
        whole = file.path.read_text()
        assert "is too long" in keystone("apply", "-", "--dry-run", stdin=whole, code=2).stderr
        file.path.write_bytes(b"\xff")
        assert "holds no text in UTF-8" in keystone("apply", str(file), "--dry-run", code=2).stderr
        assert "Is a directory" in keystone("apply", "/", "--dry-run", code=2).stderr

    def test_an_endless_file_ends(self, keystone: Commands) -> None:
        keystone("app", "add", "web", "--repository", "octo/web")
        for arguments in (
            ("apply", "/dev/zero", "--dry-run"),
            ("env", "import", "web", "/dev/zero"),
        ):
            assert "/dev/zero is too long" in keystone(*arguments, code=2).stderr
