"""Checks that crash."""

from pathlib import Path

import pytest

from jobs.doctor import checks
from jobs.doctor.guarded import Check, run_checks
from jobs.errors import StorageError
from jobs.rules.findings import Finding, Verdict
from jobs.settings import AllSettings

FINE = Finding("fine", Verdict.OK, "here")


def crash() -> Finding:
    raise KeyError("https://ada:hunter2@example.org")


def test_the_other_checks_are_told_and_the_crash_names_its_check_and_no_secret() -> None:
    first, second, third, fourth = run_checks(
        [("one", lambda: FINE), ("broken", crash), ("two", lambda: [FINE, FINE])]
    )
    assert [first, third, fourth] == [FINE, FINE, FINE]
    assert (second.name, second.verdict) == ("broken", Verdict.FAILED)
    assert second.found.startswith("the check itself failed: KeyError in ")
    assert "report" in second.fix
    assert "hunter2" not in second.found + second.fix


def test_a_user_who_may_not_read_keystones_files_is_not_told_of_a_mistake_in_keystone() -> None:
    def refused() -> Finding:
        raise PermissionError(13, "denied", "/data")

    def wrapped() -> Finding:
        try:
            return refused()
        except PermissionError as exc:
            raise StorageError("the database cannot be read") from exc

    for check, error in ((refused, PermissionError), (wrapped, StorageError)):
        with pytest.raises(error):
            run_checks([("one", check)])


def test_the_innermost_line_of_keystones_own_code_is_named() -> None:
    (found,) = run_checks([("broken", lambda: Finding(wrong=1))])  # type: ignore[call-arg]
    assert found.found.startswith("the check itself failed: TypeError in jobs/doctor/guarded.py:")


def test_each_check_of_the_doctor_may_crash(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def break_all(given: list[Check]) -> list[Finding]:
        return run_checks([(name, crash) for name, _ in given])

    monkeypatch.setattr(checks, "run_checks", break_all)
    found = checks.examine(AllSettings(data_dir=tmp_path / "data"))
    assert len(found) > 20
    assert {each.verdict for each in found} == {Verdict.FAILED}
    assert len({each.name for each in found}) == len(found)
