"""Every text that the product reads or writes names its encoding: the locale must not choose it."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FILES = [
    path
    for room in ("receiver", "jobs", "dashboard")
    for path in sorted((ROOT / room).rglob("*.py"))
]
MODES = frozenset("rwaxt+")


def _constant(call: ast.Call, position: int, name: str) -> object:
    given = [keyword.value for keyword in call.keywords if keyword.arg == name]
    given += call.args[position : position + 1]
    return given[0].value if given and isinstance(given[0], ast.Constant) else None


def leaves_it_to_the_locale(call: ast.Call) -> bool:
    """Whether a call reads or writes text in an encoding that it does not name."""
    if any(keyword.arg in {"encoding", None} for keyword in call.keywords):
        return False
    match call.func:
        case ast.Attribute(attr="read_text" | "write_text" | "TextIOWrapper"):
            return True
        case ast.Name(id="open") | ast.Attribute(attr="fdopen"):
            return "b" not in str(_constant(call, 1, "mode") or "r")
        case ast.Attribute(attr="open", value=ast.Name(id="os" | "vault" | "_vault")):
            return False
        case ast.Attribute(attr="open"):
            mode = _constant(call, 0, "mode")
            is_path = not call.args and not call.keywords
            return is_path or (isinstance(mode, str) and bool(mode) and set(mode) <= MODES)
    return any(_constant(call, 99, name) is True for name in ("text", "universal_newlines"))


def test_no_code_leaves_an_encoding_to_the_locale() -> None:
    found = [
        f"{path.relative_to(ROOT)}:{node.lineno}: {ast.unparse(node)[:80]}"
        for path in FILES
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call) and leaves_it_to_the_locale(node)
    ]
    assert found == []


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ("path.read_text()", True),
        ("path.read_text(encoding='utf-8')", False),
        ("path.read_text(errors='replace')", True),
        ("path.write_text(x)", True),
        ("path.open()", True),
        ("path.open('a')", True),
        ("path.open(mode='w')", True),
        ("path.open('rb')", False),
        ("os.open(path, flags)", False),
        ("vault.open(sealed)", False),
        ("open(path)", True),
        ("open(path, 'rb')", False),
        ("os.fdopen(fd, 'w')", True),
        ("os.fdopen(fd, 'wb')", False),
        ("subprocess.run(words, text=True)", True),
        ("subprocess.run(words, text=True, encoding='utf-8')", False),
        ("subprocess.run(words)", False),
    ],
)
def test_the_rule_finds_what_it_is_for(code: str, *, expected: bool) -> None:
    (node,) = (node for node in ast.walk(ast.parse(code)) if isinstance(node, ast.Call))
    assert leaves_it_to_the_locale(node) is expected
