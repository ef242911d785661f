"""`make roots`: sets up Keystone on clean distributions, and runs the core story on each.

Prints a table; a distribution that cannot be had is told with the reason. Exits 1 if one failed.
"""

import shutil
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from tests.roots.distributions import CLEAN, Distribution, NotToBeHadError
from tests.roots.root import CACHE, clean_root, running_root
from tests.roots.story import STORY, SetUpError, add_test_packages, set_up, tell_story, versions

OK, NOT_RUN = "passed", "not run"


@dataclass(frozen=True)
class Row:
    """What became of one distribution."""

    name: str
    outcome: str
    programs: str = ""
    set_up_s: float = 0
    story_s: float = 0


def main() -> int:
    """Try each distribution, or those whose suites are named as arguments."""
    wanted = [each for each in CLEAN if each.suite in sys.argv[1:]] or CLEAN
    rows = [_tried(distribution) for distribution in wanted]
    _say("| distribution | programs | `make setup` | core story | result |")
    _say("|---|---|---|---|---|")
    for row in rows:
        times = f"{row.set_up_s:.0f} s | {row.story_s:.0f} s"
        _say(f"| {row.name} | {row.programs} | {times} | {row.outcome} |")
    return int(any(row.outcome != OK and NOT_RUN not in row.outcome for row in rows))


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def _tried(distribution: Distribution) -> Row:
    _say(f"{distribution.name} …")
    log = CACHE / f"story-{distribution.suite}.log"
    log.unlink(missing_ok=True)
    layer = None
    try:
        base = clean_root(distribution)
        layer = Path(tempfile.mkdtemp(prefix="clean-", dir=CACHE))
        return _told(distribution, base, layer, log)
    except NotToBeHadError as exc:
        return Row(distribution.name, f"{NOT_RUN}: {exc}")
    except SetUpError as exc:
        return Row(distribution.name, f"failed: {exc}")
    finally:
        if layer is not None:
            shutil.rmtree(layer)


def _told(distribution: Distribution, base: Path, layer: Path, log: Path) -> Row:
    with running_root([base], upper=layer) as root:
        set_up_s = set_up(root, log)
        add_test_packages(root, log)
        begun = time.monotonic()
        code = tell_story(root, log, *STORY)
        found = versions(root)
        programs = (
            f"Python {found.python}, Docker Engine {found.engine}, HAProxy {found.haproxy}, "
            f"Redis {found.redis}"
        )
        outcome = f"failed: see {log}" if code else OK
        return Row(distribution.name, outcome, programs, set_up_s, time.monotonic() - begun)


sys.exit(main())
