"""What a terminal gets: rows are rows, lines end plain, and nothing gives it orders."""

import ast
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from pydantic import SecretStr
from sqlalchemy import text

import jobs.cli
from jobs.processes.runtime import Runtime
from jobs.rules.redaction import MASK, Redactor
from jobs.settings import AllSettings
from jobs.states import DeliveryOutcome
from jobs.storage.deployment_log import DeploymentLog, log_path
from tests.jobs.cli.commands import Commands, Environ
from tests.terminal import at_terminal, seen

Inside = Runtime[AllSettings]
STAMP = "2026-11-23T15:45:58.123Z"
# As an earlier version has stored it: a line of its own, and a name that passes for another.
FORGED = "ada\n2026-11-24 10:00:00   user:root   user.removed   user:ada\u2028x\x1b[8m"
TWIN = "ad\u200bmin\u202e"
ORDERS = re.compile(r"\x1b(?!\[0(;\d+)*m)|[\x00-\x08\x0b\x0c\x0e-\x1a\x1c-\x1f\x7f-\x9f]")


@pytest.fixture(autouse=True)
def web(keystone: Commands) -> None:
    """An app with a deployment that is queued."""
    keystone("app", "add", "web", "--repository", "octo/web")
    keystone("deploy", "web")


def store(inside: Inside, statement: str, **values: object) -> None:
    """Write to the database as an earlier version would have."""
    with inside.database.writing() as session:
        session.connection().execute(text(statement), values)


def test_nothing_but_one_module_prints() -> None:
    files = sorted(Path(jobs.cli.__file__).parent.glob("*.py"))
    printing = set()
    for file in files:
        for node in ast.walk(ast.parse(file.read_text())):
            name = ast.unparse(node.func) if isinstance(node, ast.Call) else ""
            if name in {"print", "typer.echo", "typer.secho", "click.echo", "sys.stdout.write"}:
                printing.add(file.name)
    assert printing == {"output.py"}
    assert len(files) > 20


def test_no_sender_makes_a_row_of_the_audit_trail(keystone: Commands, inside: Inside) -> None:
    rows = len(keystone("audit").stdout.splitlines())
    for kind, name in (("webhook", FORGED), ("user", TWIN)):
        store(
            inside,
            "INSERT INTO audit_events (at, tag, actor_kind, actor_name, target, address, details)"
            " VALUES (CURRENT_TIMESTAMP, 'deployment.requested', :kind, :name, 'app:web', '',"
            " '{}')",
            kind=kind,
            name=name,
        )
    table = keystone("audit").stdout
    assert len(table.splitlines()) == rows + 2
    assert "user:ad\ufffdmin\ufffd" in table
    assert not ORDERS.search(table)


def test_no_sender_makes_a_row_of_the_deliveries(keystone: Commands, inside: Inside) -> None:
    store(
        inside,
        "INSERT INTO deliveries (guid, event, body_sha256, outcome, reason, ref, commit_sha,"
        " sender, received_at) VALUES ('g', 'push', '', :outcome, :reason, :ref, '', :sender,"
        " CURRENT_TIMESTAMP)",
        outcome=DeliveryOutcome.IGNORED,
        reason=f"why\r{FORGED}",
        ref=f"refs/heads/ma{TWIN}in",
        sender=FORGED,
    )
    (row,) = keystone("deliveries").stdout.splitlines()[1:]
    assert "refs/heads/maad\ufffdmin\ufffdin" in row
    assert not ORDERS.search(row)


def test_a_row_is_a_line_for_a_program_that_reads_a_table(
    keystone: Commands, inside: Inside
) -> None:
    store(inside, "UPDATE deployments SET reason = :reason", reason="word " * 180)
    row = keystone("status", "web").stdout.splitlines()[-1]
    assert row.count("word") == 180


def test_a_fact_is_a_line(keystone: Commands, inside: Inside) -> None:
    facts = keystone("app", "show", "web").stdout.splitlines()
    store(
        inside,
        "UPDATE apps SET branch = :branch, auto_deploy = false, paused_reason = :reason",
        branch="main\nstate   running",
        reason="why\n\x1b[2Jstate   running",
    )
    shown = keystone("app", "show", "web").stdout.splitlines()
    assert len(shown) == len(facts) + 1
    assert sum(line.startswith("state ") for line in shown) == 1


WIDE = (
    "日本語" * 20,
    "e\u0301" * 60,  # letters whose accents are characters of their own
    "👩‍👩‍👧" * 20,
    "2026-11-24 10:00:00 user:root " * 3,
)


@pytest.mark.parametrize("columns", [60, 200])
def test_a_row_looks_like_one_however_wide_its_letters_are(
    environ: Environ, inside: Inside, columns: int
) -> None:
    for actor in WIDE:
        store(
            inside,
            "INSERT INTO audit_events (at, tag, actor_kind, actor_name, target, address, details)"
            " VALUES (CURRENT_TIMESTAMP, 'x.y', 'user', :actor, 'app:web', '', '{}')",
            actor=actor,
        )
    written = at_terminal({**environ, "COLUMNS": str(columns)}, "audit")
    header, *lines = seen(written, columns=columns)
    assert header.split() == ["When", "Who", "What", "To", "From"]
    # Of the three events of `web`, and of these; what goes on in another line has no time.
    rows = 3 + len(WIDE)
    assert sum(bool(re.match(r"\d{4}-", line)) for line in lines) == rows
    assert len(lines) == rows or columns == 60


def test_json_is_exact_and_gives_a_terminal_no_orders(keystone: Commands, inside: Inside) -> None:
    ref = f"refs/heads/ma{TWIN}\x9b2J"
    store(inside, "UPDATE deployments SET ref = :ref", ref=ref)
    printed = keystone("status", "web", "--json").stdout
    told = keystone("deploy", "web", "--json").stdout
    assert not ORDERS.search(printed + told)
    store(inside, "UPDATE apps SET branch = :branch", branch=ref)
    printed = keystone("app", "show", "web", "--json").stdout
    assert json.loads(printed)["branch"] == ref
    assert not ORDERS.search(printed)
    assert "\u202e" not in printed


def test_an_error_that_quotes_somebody_is_made_of_its_own_lines(keystone: Commands) -> None:
    told = keystone("app", "show", f"gone{TWIN}\x1b[2J\u2028forged", code=3).stderr
    assert not ORDERS.search(told)
    assert all(line.startswith("keystone: ") for line in told.splitlines())
    assert "\u202e" not in told


# --- Logs ------------------------------------------------------------------------------------


def write_log(inside: Inside, *lines: str) -> None:
    """Leave a log as an earlier version has written it."""
    path = log_path(inside.settings.logs_dir, 1)
    path.parent.mkdir(exist_ok=True)
    path.write_text("".join(f"{STAMP} build | {line}\n" for line in lines))


def test_a_log_at_a_terminal_has_the_styles_of_the_pages_and_no_others(
    environ: Environ, inside: Inside
) -> None:
    write_log(inside, "\x1b[1;31mred", "\x1b[8mhidden", "\x1b[5mblink\x1b[7m", "a\u200bb", "plain")
    written = at_terminal(environ, "logs", "1").replace("\r\n", "\n")
    assert written == "".join(
        f"{STAMP} build | {line}\n"
        for line in ("\x1b[0;1;31mred\x1b[0m", "hidden", "blink", "ab", "plain")
    )
    assert seen(written.replace("\n", "\r\n"))[1] == f"{STAMP} build | hidden"


@pytest.mark.parametrize("name", [{"NO_COLOR": "1"}, {"TERM": "dumb"}])
def test_whoever_wants_no_styles_gets_none(
    environ: Environ, inside: Inside, name: dict[str, str]
) -> None:
    write_log(inside, "\x1b[1;31mred")
    assert at_terminal({**environ, **name}, "logs", "1") == f"{STAMP} build | red\r\n"


def test_a_pipe_gets_the_words(environ: Environ, inside: Inside) -> None:
    write_log(inside, "\x1b[1;31mred\x1b[0m ✓", "\x1b[8mhidden")
    done = subprocess.run(
        [sys.executable, "-P", "-m", "jobs.cli", "logs", "1"],
        env=environ,
        capture_output=True,
        check=True,
        timeout=120,
    )
    assert done.stdout.decode() == f"{STAMP} build | red ✓\n{STAMP} build | hidden\n"


def test_a_secret_with_colours_inside_is_not_seen(environ: Environ, inside: Inside) -> None:
    log = DeploymentLog(
        log_path(inside.settings.logs_dir, 1), Redactor([SecretStr("secr3t-value")])
    )
    log.write("build", "it is sec\x1b[31mr3t\x1b[0m-va\u200blue\x1b[8m here")
    log.close()
    (line,) = seen(at_terminal(environ, "logs", "1"))
    assert line.endswith(f"build | it is {MASK} here")
