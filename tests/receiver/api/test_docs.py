"""/api/docs: a page that needs nothing from elsewhere."""

import re

from starlette.testclient import TestClient

from receiver.endpoints import ENDPOINTS


def test_every_endpoint_is_on_the_page(client: TestClient) -> None:
    page = client.get("/api/docs").text
    headings = re.findall(r"<h3><b class=\"\w+\">(\w+)</b> <code>([^<]+)</code></h3>", page)
    assert sorted(headings) == sorted((each.method, each.path) for each in ENDPOINTS)


def test_the_page_needs_nothing_from_elsewhere_and_runs_nothing(client: TestClient) -> None:
    page = client.get("/api/docs").text
    addresses = re.findall(r'(?:src|href)="([^"]*)"', page)
    assert {address for address in addresses if not address.startswith("#")} == {
        "/api/docs.css",
        "/api/openapi.json",
    }
    assert "<script" not in page
    assert "style=" not in page


def test_every_link_on_the_page_leads_somewhere(client: TestClient) -> None:
    page = client.get("/api/docs").text
    wanted = set(re.findall(r'href="#([^"]*)"', page))
    assert wanted <= set(re.findall(r'id="([^"]*)"', page))


def test_the_style_sheet_is_there(client: TestClient) -> None:
    answer = client.get("/api/docs.css")
    assert answer.headers["content-type"].startswith("text/css")
    assert "url(" not in answer.text
