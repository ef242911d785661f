"""What builds may use of a machine when nobody says."""

import pytest

from jobs.system.machine import build_cpus, build_memory_mb, memory_mb


@pytest.mark.parametrize(
    ("total", "builds"),
    [(512, 256), (1024, 512), (2048, 1280), (4096, 3072), (8192, 6144), (24_576, 18_432)],
)
def test_most_of_the_memory_is_for_builds_and_some_for_the_rest(total: int, builds: int) -> None:
    assert build_memory_mb(total) == builds


@pytest.mark.parametrize(("total", "builds"), [(1, 0.75), (2, 1.5), (8, 6.0)])
def test_a_quarter_of_the_processors_is_left(total: int, builds: float) -> None:
    assert build_cpus(total) == builds


def test_this_machine_has_some() -> None:
    assert 256 < build_memory_mb() < memory_mb()
    assert build_cpus() >= 0.75
