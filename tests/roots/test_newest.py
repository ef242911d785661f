"""The core story on the newest Docker Engine and HAProxy that this machine's apt can get.

They are of a newer distribution, which runs in a root and namespaces of its own. Making it takes
some minutes the first time, and is kept in a cache folder.
"""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import MEASURED
from tests.roots.distributions import NEWEST, NotToBeHadError
from tests.roots.story import DETAILS, STORY, prepared_root, tell_story, versions

pytestmark = [
    pytest.mark.docker,
    pytest.mark.skipif(os.geteuid() != 0, reason="not run: only root can make another root"),
    pytest.mark.timeout(1800),
]


def test_the_core_story_on_the_newest_engine_and_router(
    tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    reasons = []
    for distribution in NEWEST:
        log = tmp_path / f"{distribution.suite}.log"
        try:
            with prepared_root(distribution, log) as root:
                found = versions(root)
                code = tell_story(root, log, *STORY, *DETAILS)
        except NotToBeHadError as exc:
            reasons.append(str(exc))
            continue
        told = f"core story: {distribution.name}, Docker Engine {found.engine}"
        record_property(MEASURED, f"{told}, HAProxy {found.haproxy}, Python {found.python}")
        assert code == 0, log.read_text()[-20_000:]
        return
    pytest.skip(f"not run: the core story on a newer engine ({'; '.join(reasons)})")
