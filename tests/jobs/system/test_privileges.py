"""Becoming another user for good, and doing one thing as one."""

import os
import time
from pathlib import Path

import pytest

from jobs.system.privileges import (
    CAP_KILL,
    CAP_NET_BIND_SERVICE,
    CAP_SETGID,
    CAP_SETPCAP,
    CAP_SETUID,
    Rights,
    take_on,
)
from jobs.system.run_as import run_as
from tests.acceptance.keystone import children_of
from tests.apart import NOBODY, only_root
from tests.jobs.bench import wait_for

SOMEBODY = Rights(12345, 23456, (34567,))


def status() -> str:
    """Give what the kernel says of this process."""
    return Path("/proc/self/status").read_text()


def fields(rights: Rights) -> dict[str, str]:
    """Give what the kernel says of a process with these rights."""
    lines = run_as(rights, status).splitlines()
    return {name: value.strip() for name, _, value in (line.partition(":") for line in lines)}


@pytest.mark.parametrize(
    "rights",
    [Rights(1, 2), Rights(1, 2, (3,)), Rights(1, 2, (), (10,)), Rights(0, 0, (3, 4), (10, 18))],
)
def test_rights_are_read_as_they_were_written(rights: Rights) -> None:
    assert Rights.from_text(rights.to_text()) == rights


@only_root
class TestAnotherUser:
    def test_has_the_user_and_groups_and_nothing_of_roots(self) -> None:
        found = fields(SOMEBODY)
        assert set(found["Uid"].split()) == {"12345"}
        assert set(found["Gid"].split()) == {"23456"}
        assert found["Groups"] == "34567"
        for name in ("CapEff", "CapPrm", "CapInh", "CapBnd", "CapAmb"):
            assert int(found[name], 16) == 0
        assert found["NoNewPrivs"] == "1"

    def test_keeps_the_capabilities_that_it_is_to_have_and_hands_them_on(self) -> None:
        found = fields(SOMEBODY._replace(capabilities=(CAP_NET_BIND_SERVICE,)))
        for name in ("CapEff", "CapPrm", "CapBnd", "CapAmb"):
            assert int(found[name], 16) == 1 << CAP_NET_BIND_SERVICE

    def test_that_is_root_keeps_no_more_than_it_is_to_have(self) -> None:
        found = fields(Rights(0, 0, (), (CAP_KILL, CAP_SETUID)))
        for name in ("CapEff", "CapPrm", "CapBnd"):
            assert int(found[name], 16) == 1 << CAP_KILL | 1 << CAP_SETUID
        assert found["Groups"] == ""

    def test_that_lacks_a_capability_keeps_the_others(self) -> None:
        few, more = (CAP_SETGID, CAP_SETUID, CAP_SETPCAP), (CAP_SETUID, CAP_KILL)

        def become_another_who_is_to_have_more() -> str:
            take_on(Rights(0, 0, (), more))
            return status()

        lines = run_as(Rights(0, 0, (), few), become_another_who_is_to_have_more).splitlines()
        found = dict(line.split(":\t", 1) for line in lines if ":\t" in line)
        for name in ("CapEff", "CapPrm", "CapBnd"):
            assert int(found[name], 16) == 1 << CAP_SETUID

    def test_cannot_become_root_again(self) -> None:
        def become_root() -> str:
            os.setuid(0)
            return "became root"

        assert "not permitted" in run_as(SOMEBODY, become_root)


@only_root
class TestDoingOneThing:
    def test_gives_its_answer(self) -> None:
        assert run_as(SOMEBODY, lambda: "done") == "done"
        assert run_as(SOMEBODY, lambda: "") == ""

    def test_gives_the_sentence_of_what_went_wrong(self) -> None:
        assert "Permission denied" in run_as(SOMEBODY, Path("/etc/shadow").read_text)

    def test_that_takes_too_long_is_ended(self) -> None:
        def sleep() -> str:
            time.sleep(600)
            return "slept"

        before = set(children_of(os.getpid()))
        assert run_as(SOMEBODY, sleep, patience_s=0.2) == "there was no answer within 0.2 s"
        wait_for(lambda: set(children_of(os.getpid())) <= before)

    def test_that_ends_without_an_answer_is_no_answer(self) -> None:
        def end() -> str:
            os._exit(3)

        assert "no answer" in run_as(SOMEBODY, end)

    def test_whose_answer_is_long_is_cut(self) -> None:
        told = run_as(SOMEBODY, lambda: "x" * 1_000_000)
        assert 10_000 < len(told) < 100_000


@only_root
def test_who_lacks_the_right_to_become_another_is_told() -> None:
    def try_it() -> str:
        return run_as(SOMEBODY, lambda: "done")

    assert "not permitted" in run_as(Rights(NOBODY, NOBODY), try_it)
