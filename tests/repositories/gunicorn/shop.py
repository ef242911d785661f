"""A WSGI app that answers only to its own name, as many frameworks do by default."""

ALLOWED_HOSTS = {"shop.example.com"}


def app(environ, start_response):
    host = environ.get("HTTP_HOST", "").partition(":")[0]
    plain = [("Content-Type", "text/plain")]
    if host not in ALLOWED_HOSTS:
        start_response("400 Bad Request", plain)
        return [f"Invalid HTTP_HOST header: '{host}'. Add it to ALLOWED_HOSTS.\n".encode()]
    start_response("200 OK", plain)
    return [b"ok\n" if environ["PATH_INFO"] == "/health" else b"the shop is open\n"]
