"""/api/openapi.json and /api/docs: the API's description, made from the table of endpoints."""

from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from starlette.responses import HTMLResponse, JSONResponse, Response

from receiver.access import Door
from receiver.routing import CSS, HTML, JSON, Call, Endpoints, Nothing

ENDPOINTS = Endpoints()

HERE = Path(__file__).parent
_pages = Environment(
    loader=FileSystemLoader(HERE),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)


@ENDPOINTS.add("GET", "/api/openapi.json", needs=Door.ANYONE, gives=JSON)
def show_openapi(call: Call[Nothing]) -> Response:
    """Give this description of the API, as OpenAPI 3.1."""
    return JSONResponse(call.request.app.state.openapi)


@ENDPOINTS.add("GET", "/api/docs", needs=Door.ANYONE, gives=HTML)
def show_docs(call: Call[Nothing]) -> Response:
    """Give this description of the API as a page, which loads nothing from other sites."""
    page = _pages.get_template("docs.html").render(api=call.request.app.state.openapi)
    return HTMLResponse(page)


@ENDPOINTS.add("GET", "/api/docs.css", needs=Door.ANYONE, gives=CSS)
def show_docs_style(_call: Call[Nothing]) -> Response:
    """Give the style sheet of that page."""
    return Response((HERE / "docs.css").read_text(encoding="utf-8"), media_type="text/css")
