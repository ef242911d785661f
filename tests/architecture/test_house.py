"""The house rules that no linter knows: what lies where, and what the dashboard can do."""

import ast
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

from starlette.routing import Route

from dashboard.app import create_dashboard
from jobs.settings import Settings
from jobs.storage.database import Database

ROOT = Path(__file__).parents[2]
ROOMS = {"receiver", "jobs", "dashboard", "tests"}
MOST_STORIES, MOST_LINES = 9, 400
PAPERS = {"Procfile", "pyproject.toml", "README.md", "LICENSE", "Makefile"}


def test_the_top_level_holds_the_four_rooms_and_what_tools_insist_on() -> None:
    listed = subprocess.run(
        ["git", "-c", f"safe.directory={ROOT}", "ls-files"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    tops = {line.split("/")[0] for line in listed.stdout.splitlines()}
    others = {top for top in tops if not top.startswith(".") and not top.endswith(".lock")}
    assert others >= ROOMS
    assert others <= ROOMS | PAPERS


def test_the_main_stories_alone_are_at_the_root_of_jobs() -> None:
    assert len(list((ROOT / "jobs").glob("*.py"))) <= MOST_STORIES


def test_no_file_of_the_product_is_too_long_to_read() -> None:
    files = [file for room in ROOMS - {"tests"} for file in (ROOT / room).rglob("*.py")]
    lengths = {str(file.relative_to(ROOT)): len(file.read_text().splitlines()) for file in files}
    assert {name: lines for name, lines in lengths.items() if lines > MOST_LINES} == {}


def writes_in(tree: ast.AST) -> set[str]:
    """Find calls that write rows: those of a session, and statements that change a table."""
    names = {ast.unparse(node.func) for node in ast.walk(tree) if isinstance(node, ast.Call)}
    methods = {f"session.{name}" for name in ("add", "add_all", "delete", "merge")}
    return names & (methods | {"insert", "update", "delete"})


def test_only_records_and_storage_write_rows() -> None:
    found = {}
    for file in (ROOT / "jobs").rglob("*.py"):
        name = file.relative_to(ROOT).as_posix()
        if not name.startswith(("jobs/records/", "jobs/storage/")) and (
            writes := writes_in(ast.parse(file.read_text()))
        ):
            found[name] = writes
    # What a warm-up writes is undone.
    assert found == {"jobs/deployment/warm_up.py": {"session.add"}}


def test_the_dashboard_has_only_get_routes(tmp_path: Path) -> None:
    settings = Settings(data_dir=tmp_path)
    dashboard = create_dashboard(Database(settings.effective_database_url), settings)
    methods = {
        method
        for route in dashboard.routes
        if isinstance(route, Route)
        for method in route.methods or ()
    }
    assert methods == {"GET", "HEAD"}


# What a sentence begins with that says its own place.
PLACE = re.compile(r"^[\w.-]*(\{\})?[\w.-]*: ")
REFUSALS = {"ConfigurationError", "ConflictError", "AccessError"}


def test_no_refusal_has_its_field_in_its_text() -> None:
    sources = [path for room in ("jobs", "receiver") for path in (ROOT / room).rglob("*.py")]
    found = {
        f"{path.relative_to(ROOT)}:{call.lineno}: {text}"
        for path in sources
        for call in ast.walk(ast.parse(path.read_text()))
        if isinstance(call, ast.Call) and getattr(call.func, "id", "") in REFUSALS
        for text in _texts(call)
        if PLACE.match(text)
    }
    assert not found, "give a `jobs.errors.Mistake` with the field"


def _texts(call: ast.Call) -> Iterator[str]:
    """Give the texts a call is given, with {} for what they insert."""
    for given in call.args:
        match given:
            case ast.Constant(value=str(text)):
                yield text
            case ast.JoinedStr(values=values):
                parts = (
                    str(each.value) if isinstance(each, ast.Constant) else "{}" for each in values
                )
                yield "".join(parts)
