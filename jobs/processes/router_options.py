"""The router keeper's command line and files: known to the keeper and to those who start it.

The keeper imports this module, so it imports only the standard library and `jobs.system`.
"""

import argparse
import json
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from jobs.system.haproxy_process import binary_of
from jobs.system.listening import port_spans

# In the keeper's folder.
LOCK_FILE, STATE_FILE, LOG_FILE, LINK = "router.lock", "router.json", "router.log", "haproxy"
GENERATION = 1  # incremented when a running keeper has to be replaced by this code
EXIT_TAKEN = 3  # another keeper is there


def parse_options(arguments: Sequence[str]) -> argparse.Namespace:
    """Parse the keeper's arguments."""
    parser = argparse.ArgumentParser(prog="router_keeper", allow_abbrev=False)
    for name in ("--run", "--config", "--master", "--api"):
        parser.add_argument(name, type=Path, required=True)
    parser.add_argument("--haproxy", required=True, help="the path of the program")
    parser.add_argument("--admin", default="", help="the user that may use the master's socket")
    parser.add_argument("--rights", default="", help="the rights to take on (Rights.to_text)")
    parser.add_argument("--owner", type=int, help="stop HAProxy when this process ends")
    parser.add_argument("--detach", action="store_true", help="run in the background")
    parser.add_argument("--stop", action="store_true", help="stop an HAProxy without a keeper")
    return parser.parse_args(arguments)


def read_state(run: Path) -> dict[str, object]:
    """Read what the last keeper wrote; empty when there was none."""
    try:
        found = json.loads((run / STATE_FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def what_is_loaded(program: Path, config: Path) -> dict[str, list[Any]]:
    """Give what tells the program from another one, and the spans of ports in a configuration."""
    return {"binary": binary_of(program), "ports": port_spans(config.read_text(encoding="utf-8"))}


def write_state(run: Path, state: Mapping[str, object]) -> None:
    """Write what runs, for the other processes; a full disk must not end the keeper."""
    draft = run / f"{STATE_FILE}.draft"
    with suppress(OSError):
        draft.write_text(json.dumps(state), encoding="utf-8")
        draft.replace(run / STATE_FILE)


# Otherwise the C library gives each freed buffer back to the kernel and gets it again, which takes
# 10 % of the time of a request.
ALLOCATION = {"MALLOC_TRIM_THRESHOLD_": str(32 * 1024 * 1024)}


def clean_environment(environ: Mapping[str, str]) -> dict[str, str]:
    """Give HAProxy's environment: it needs none of Keystone's settings."""
    kept = {
        name: value
        for name, value in environ.items()
        if not name.startswith(("KEYSTONE_", "NOTIFY_", "HAPROXY_"))
    }
    return {**ALLOCATION, **kept}
