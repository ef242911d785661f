"""/api/openapi.json and /api/docs: the API described by the very table that routes it."""

from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from starlette.responses import HTMLResponse, JSONResponse, Response

from receiver.routing import Call, Nothing

HERE = Path(__file__).parent
_pages = Environment(
    loader=FileSystemLoader(HERE),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)


def show_openapi(call: Call[Nothing]) -> Response:
    """Give this description of the API, as OpenAPI 3.1."""
    return JSONResponse(call.request.app.state.openapi)


def show_docs(call: Call[Nothing]) -> Response:
    """Give this description of the API as a page; it needs nothing from elsewhere."""
    page = _pages.get_template("docs.html").render(api=call.request.app.state.openapi)
    return HTMLResponse(page)


def show_docs_style(_call: Call[Nothing]) -> Response:
    """Give the style sheet of that page."""
    return Response((HERE / "docs.css").read_text(), media_type="text/css")
