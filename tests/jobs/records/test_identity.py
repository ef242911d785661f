"""The name that tells two Keystones apart."""

import re

from jobs.records.identity import ensure_identity
from tests.jobs.bench import Bench


def test_the_identity_is_made_once(bench: Bench) -> None:
    with bench.writing() as session:
        name = ensure_identity(session)
        assert ensure_identity(session) == name == bench.runtime.identity
    assert re.fullmatch(r"[a-z]{6}", name)
