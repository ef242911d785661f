"""Drawings are well-formed, and say by shape what they say by colour."""

import xml.etree.ElementTree as ET

import pytest

from dashboard import charts
from dashboard.charts import Bar

SVG = "{http://www.w3.org/2000/svg}"
NASTY = '"><script>alert(1)</script>'


def bars(*made: Bar, slots: int = 4) -> ET.Element:
    return ET.fromstring(charts.history(made, slots=slots, height=30, summary="all of it"))  # noqa: S314


def test_empty_places_come_before_the_bars() -> None:
    empty, good, bad = bars(Bar("good", 3), Bar("bad", 5))
    assert [path.get("class") for path in (empty, good, bad)] == ["none", "good", "bad"]
    assert empty.get("d") == "M2 29h4M14 29h4"
    assert (good.get("d") or "").startswith("M24 ")
    assert (bad.get("d") or "").startswith("M36 ")


def test_bars_of_one_tone_are_one_path() -> None:
    drawn = bars(*[Bar("good", 3)] * 3, Bar("busy", 1))
    assert [path.get("class") for path in drawn] == ["good", "busy open"]


def test_the_tone_changes_the_shape_and_not_only_the_colour() -> None:
    shapes = {bars(Bar(tone, 5), slots=1)[0].get("d") for tone in ("good", "bad", "busy")}
    assert len(shapes) == 3


def test_a_bar_with_an_address_leads_there_and_says_what_it_is() -> None:
    link = bars(Bar("good", 5, title="#7", href="/deployments/7"), slots=1)[0]
    assert link.get("href") == "/deployments/7"
    assert link.findtext("title") == "#7"


def test_nothing_written_by_strangers_gets_out_of_its_attribute() -> None:
    drawn = charts.history([Bar("good", 1, NASTY, NASTY)], slots=1, height=30, summary=NASTY)
    assert "<script" not in drawn


def test_no_deployment_at_all_draws_an_empty_row() -> None:
    assert [path.get("class") for path in bars()] == ["none"]


@pytest.mark.parametrize("tone", list(charts.FAVICONS))
def test_every_favicon_is_an_svg(tone: str) -> None:
    assert ET.fromstring(charts.favicon(tone)).tag == f"{SVG}svg"  # noqa: S314


@pytest.mark.parametrize("shape", list(charts.ICONS))
def test_every_icon_is_well_formed_and_silent(shape: str) -> None:
    assert ET.fromstring(charts.icon(shape)).get("aria-hidden") == "true"  # noqa: S314
