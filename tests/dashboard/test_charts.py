"""Drawings are well-formed, and say by shape what they say by colour."""

import re
import xml.etree.ElementTree as ET

import pytest

from dashboard import charts
from dashboard.charts import Bar
from dashboard.labels import DEPLOYMENT_LOOKS, Look

SVG = "{http://www.w3.org/2000/svg}"
GOOD = Bar("good", "check", 3)
NASTY = '"><script>alert(1)</script>'


def bars(*made: Bar, slots: int = 4) -> ET.Element:
    return ET.fromstring(charts.history(made, slots=slots, height=30, summary="all of it"))  # noqa: S314


def test_empty_places_come_before_the_bars() -> None:
    empty, good, bad = bars(GOOD, Bar("bad", "cross", 5))
    assert [path.get("class") for path in (empty, good, bad)] == ["none", "good", "bad"]
    assert empty.get("d") == "M2 29h4M14 29h4"
    assert (good.get("d") or "").startswith("M24 ")
    assert (bad.get("d") or "").startswith("M36 ")


def test_bars_of_one_tone_are_one_path() -> None:
    drawn = bars(*[GOOD] * 3, Bar("busy", "spin", 1))
    assert [path.get("class") for path in drawn] == ["good", "busy open"]


@pytest.mark.parametrize("seconds", [None, 5])
def test_each_state_is_told_from_every_other_by_its_shape_alone(seconds: float | None) -> None:
    looks = list(DEPLOYMENT_LOOKS.values())
    drawn = [bars(Bar(look.tone, look.shape, seconds), slots=1)[0] for look in looks]
    assert len({path.get("d") for path in drawn}) == len(looks) == 7


@pytest.mark.parametrize("look", DEPLOYMENT_LOOKS.values(), ids=lambda look: look.word)
@pytest.mark.parametrize("height", [34, 56])
def test_no_bar_leaves_its_picture(look: Look, height: int) -> None:
    for seconds in (None, 1, 9):
        made = [Bar(look.tone, look.shape, seconds), Bar("good", "check", 9)]
        drawn = charts.history(made, slots=2, height=height, summary="")
        path = ET.fromstring(drawn)[0].get("d") or ""  # noqa: S314
        assert 0 <= min(corners(path)) <= max(corners(path)) <= height


def corners(path: str) -> list[float]:
    """Give how far down each corner of a path is."""
    found, y = list[float](), 0.0
    for command, values in re.findall(r"([Mvhlaqz])([^Mvhlaqz]*)", path):
        numbers = [float(number) for number in re.findall(r"-?\d+\.?\d*", values)]
        match command:
            case "M":
                y = numbers[1]
            case "v":
                y += numbers[0]
            case "l" | "q" | "a":
                y += numbers[-1]
        found.append(y)
    return found


def test_a_bar_with_an_address_leads_there_and_says_what_it_is() -> None:
    link = bars(Bar("good", "check", 5, title="#7", href="/deployments/7"), slots=1)[0]
    assert link.get("href") == "/deployments/7"
    assert link.findtext("title") == "#7"


def test_nothing_written_by_strangers_gets_out_of_its_attribute() -> None:
    drawn = charts.history(
        [Bar("good", "check", 1, NASTY, NASTY)], slots=1, height=30, summary=NASTY
    )
    assert "<script" not in drawn


def test_no_deployment_at_all_draws_an_empty_row() -> None:
    assert [path.get("class") for path in bars()] == ["none"]


@pytest.mark.parametrize("tone", list(charts.FAVICONS))
def test_every_favicon_is_an_svg(tone: str) -> None:
    assert ET.fromstring(charts.favicon(tone)).tag == f"{SVG}svg"  # noqa: S314


@pytest.mark.parametrize("shape", list(charts.ICONS))
def test_every_icon_is_well_formed_and_silent(shape: str) -> None:
    assert ET.fromstring(charts.icon(shape)).get("aria-hidden") == "true"  # noqa: S314
