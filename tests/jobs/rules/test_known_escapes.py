"""Which versions are told to let a container escape, and which are not."""

import gzip
from collections.abc import Mapping
from pathlib import Path

import pytest

from jobs.rules import known_escapes
from jobs.rules.known_escapes import ENGINE, ESCAPES, RUNC, Package, find_package, find_suspects


def told(engine: str = "", runc: str = "") -> str:
    """Give all flaws that are told of these versions."""
    found = find_suspects({ENGINE: engine, RUNC: runc})
    return "\n".join(flaw for suspect in found for flaw in suspect.flaws)


@pytest.mark.parametrize(
    ("version", "has", "has_not"),
    [
        ("1.1.11", {"CVE-2024-21626", "CVE-2025-31133"}, {"CVE-2021-30465"}),
        ("v1.1.12-0-g51d5e94f", {"CVE-2025-52881"}, {"CVE-2024-21626"}),
        ("1.2.7", {"CVE-2025-52565"}, {"CVE-2024-21626"}),
        ("1.2.8", set(), {"CVE-2025-31133"}),
        ("1.3.2", {"CVE-2025-31133"}, set()),
        ("1.3.3", set(), {"CVE-2025-31133"}),
        ("1.4.0-rc.2", {"CVE-2025-31133"}, set()),
        ("1.4.0-rc.3", set(), {"CVE-2025-31133"}),
        ("1.4.0", set(), {"CVE-2025-31133"}),
        ("1.0.0-rc94", {"CVE-2021-30465"}, set()),
        ("1.0.0-rc95", {"CVE-2024-21626"}, {"CVE-2021-30465"}),
    ],
)
def test_a_runc_version_has_exactly_its_known_escapes(
    version: str, has: set[str], has_not: set[str]
) -> None:
    found = told(runc=version)
    assert all(cve in found for cve in has)
    assert not any(cve in found for cve in has_not)


BUILDKIT = {"CVE-2024-23651", "CVE-2024-23652", "CVE-2024-23653"}


@pytest.mark.parametrize(
    ("version", "has", "has_not"),
    [
        ("20.10.27", BUILDKIT | {"CVE-2024-41110"}, set()),
        # Its release notes say that it leaves them.
        ("24.0.9", BUILDKIT, set()),
        ("25.0.1", BUILDKIT, set()),
        ("25.0.2", {"CVE-2024-41110"}, BUILDKIT),
        ("25.0.6", set(), {"CVE-2024-41110"}),
        ("26.1.4", {"CVE-2024-41110"}, BUILDKIT),
        ("26.1.5", set(), {"CVE-2024-41110"}),
        ("23.0.15", BUILDKIT, {"CVE-2024-41110"}),
        ("27.1.0", {"CVE-2024-41110"}, BUILDKIT),
        ("27.1.1", {"CVE-2026-33747"}, {"CVE-2024-41110"}),
        ("29.3.0", {"CVE-2026-33747", "CVE-2026-34040"}, {"CVE-2024-41110"}),
        ("29.3.1", {"CVE-2026-41567"}, {"CVE-2026-33747", "CVE-2026-34040"}),
    ],
)
def test_an_engine_version_has_exactly_its_known_escapes(
    version: str, has: set[str], has_not: set[str]
) -> None:
    found = told(engine=version)
    assert all(cve in found for cve in has)
    assert not any(cve in found for cve in has_not)


def test_the_newest_versions_have_no_known_escapes() -> None:
    assert told(engine="29.9.0", runc="1.4.1") == ""


@pytest.mark.parametrize("version", ["", "dev", "master", "1.2", "a.b.c"])
def test_an_unreadable_version_has_no_known_escapes(version: str) -> None:
    assert told(engine=version, runc=version) == ""
    assert find_suspects({"Podman Engine": "4.3.1"}) == []


def test_what_matters_only_sometimes_says_so() -> None:
    assert "CVE-2024-41110 (with authorization plugins)" in told(engine="26.1.4")


class TestADistributionsPackage:
    @pytest.fixture
    def packages(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """The packages of Debian 12, whose fixes do not show in the versions that they tell."""
        found: Mapping[str, Package] = {
            RUNC: Package("runc", "1.1.5+ds1-1+deb12u1", "CVE-2024-21626: several breakouts"),
            ENGINE: Package("docker.io", "20.10.24+dfsg1-1+deb12u1", "Fix CVE-2024-41110"),
        }
        monkeypatch.setattr(known_escapes, "find_package", found.get)

    @pytest.mark.usefixtures("packages")
    def test_has_what_its_changelog_says_fixed(self) -> None:
        found = told(engine="20.10.24+dfsg1", runc="1.1.5+ds1")
        assert "CVE-2024-21626" not in found
        assert "CVE-2024-41110" not in found

    @pytest.mark.usefixtures("packages")
    def test_may_have_the_others(self) -> None:
        engine, runc = find_suspects({ENGINE: "20.10.24+dfsg1", RUNC: "1.1.5+ds1"})
        assert engine.name == "docker.io 20.10.24+dfsg1-1+deb12u1"
        assert runc.name == "runc 1.1.5+ds1-1+deb12u1"
        assert engine.flaws[:3] == ("CVE-2024-23651", "CVE-2024-23652", "CVE-2024-23653")
        assert runc.flaws == ("CVE-2025-31133", "CVE-2025-52565", "CVE-2025-52881")
        assert not engine.is_sure
        assert not runc.is_sure

    @pytest.mark.usefixtures("packages")
    def test_is_not_asked_for_what_is_not_its_own(self) -> None:
        (suspect,) = find_suspects({RUNC: "1.1.5"})
        assert "CVE-2024-21626" in suspect.flaws
        assert suspect.is_sure

    def test_that_is_not_found_is_told_by_its_version(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(known_escapes, "find_package", lambda _component: None)
        (suspect,) = find_suspects({RUNC: "1.1.12-0ubuntu3"})
        assert suspect.name == "runc 1.1.12-0ubuntu3"
        assert "CVE-2025-31133" in suspect.flaws
        assert not suspect.is_sure

    def test_is_found_with_its_changelog(
        self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        query = tmp_path / "dpkg-query"
        query.write_text('#!/bin/sh\n[ "$4" = runc ] || exit 1\nprintf 1.1.5+ds1-1\n')
        query.write_text(query.read_text().replace('"$4"', '"$3"'))
        query.chmod(0o755)
        monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
        (tmp_path / "runc").mkdir()
        with gzip.open(tmp_path / "runc" / "changelog.Debian.gz", "wt") as file:
            file.write("* CVE-2024-21626\n")
        (tmp_path / "runc" / "changelog.gz").write_bytes(b"not packed")
        found = find_package(RUNC, tmp_path)
        assert found == Package("runc", "1.1.5+ds1-1", "* CVE-2024-21626\n")
        assert find_package(ENGINE, tmp_path) is None

    def test_on_a_machine_without_packages_there_is_none(
        self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        monkeypatch.setenv("PATH", str(tmp_path))
        assert find_package(RUNC) is None


def test_the_table_can_be_read() -> None:
    for escape in ESCAPES:
        versions = [known_escapes._read(each) for each in escape.fixed]
        assert None not in versions
        assert versions == sorted(versions, key=lambda each: each or (0, 0, 0, 0))
