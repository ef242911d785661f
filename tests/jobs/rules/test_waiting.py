"""What a queued deployment waits for, in words."""

import pytest

from jobs.rules.waiting import NO_REDIS, NO_WORKER, SOON, UNKNOWN, Busy, for_a_worker
from jobs.states import Lane

BUILD, QUICK = Lane.BUILD, Lane.QUICK


def busy(*lanes: Lane) -> list[Busy]:
    names = ("shop", "blog", "wiki", "mail", "chat")
    return [
        Busy(name, number, lane, is_over=False)
        for number, (name, lane) in enumerate(zip(names, lanes, strict=False), 4)
    ]


@pytest.mark.parametrize(
    ("lane", "before", "workers", "others", "words"),
    [
        (BUILD, 0, 2, [], SOON),
        (BUILD, 0, 2, [BUILD], SOON),
        (BUILD, 0, 1, [BUILD], "the worker is busy with shop #4"),
        (BUILD, 0, 2, [BUILD, BUILD], "both workers are busy with shop #4 and blog #5"),
        (BUILD, 1, 2, [BUILD], "1 build is before it"),
        (
            BUILD,
            2,
            2,
            [BUILD, BUILD],
            "2 builds are before it; both workers are busy with shop #4 and blog #5",
        ),
        (BUILD, 0, 3, [BUILD] * 3, "all 3 workers are busy with shop #4, blog #5 and wiki #6"),
        (BUILD, 0, 5, [BUILD] * 5, "all 5 workers are busy with shop #4, blog #5 and 3 more"),
        # The quick lane's own worker takes the first of these.
        (BUILD, 0, 2, [BUILD, QUICK], SOON),
        (BUILD, 0, 2, [QUICK, BUILD, QUICK], "both workers are busy with blog #5 and wiki #6"),
        (QUICK, 0, 2, [BUILD, BUILD], SOON),
        (QUICK, 0, 1, [BUILD, QUICK], "both workers are busy with shop #4 and blog #5"),
        (QUICK, 1, 2, [QUICK], "1 rollback is before it"),
        (BUILD, 0, 0, [], NO_WORKER),
        (BUILD, 3, 0, [], NO_WORKER),
        (QUICK, 0, 0, [], NO_WORKER),
        (BUILD, 0, None, [BUILD], UNKNOWN),
        (BUILD, 1, None, [], f"1 build is before it; {UNKNOWN}"),
    ],
)
def test_the_next_deployment_of_an_app(
    lane: Lane, before: int, workers: int | None, others: list[Lane], words: str
) -> None:
    assert for_a_worker(lane, before=before, workers=workers, busy=busy(*others)) == words


def test_without_redis_nobody_takes_it() -> None:
    assert for_a_worker(BUILD, before=1, workers=0, busy=[], has_redis=False) == NO_REDIS


def test_the_one_before_it_of_the_same_app_is_named() -> None:
    assert Busy("shop", 12, BUILD, is_over=False).words == "deployment #12 of this app is running"
    retiring = Busy("shop", 12, BUILD, is_over=True)
    assert retiring.words == "deployment #12 of this app is retiring the old release"
