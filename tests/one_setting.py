"""Adds an imaginary setting at its one declaration; `test_one_declaration.py` looks for it.

A plugin of pytest (`-p tests.one_setting`): loaded before anything imports the declarations.
"""

import importlib.util
import sys
from pathlib import Path

MODULE = "jobs.rules.app_settings"
PLACE = "    pids: Annotated["
DECLARED = """    imaginary_mb: Annotated[
        int, Shown(Section.CONTAINER, "Imaginary", unit="MB")
    ] = Field(7, ge=1, le=9, description="How much it may imagine")
"""


def declare() -> None:
    """Load the declarations with one more among them."""
    found = importlib.util.find_spec(MODULE)
    if found is None or found.origin is None or MODULE in sys.modules:
        raise RuntimeError(f"{MODULE} must be there, and must not be imported yet")
    source = Path(found.origin).read_text()
    if source.count(PLACE) != 1:
        raise RuntimeError(f"{MODULE} has changed: say where a setting of containers is declared")
    module = importlib.util.module_from_spec(found)
    sys.modules[MODULE] = module
    code = source.replace(PLACE, DECLARED + PLACE)
    exec(compile(code, found.origin, "exec"), module.__dict__)  # noqa: S102 — our own source


declare()
