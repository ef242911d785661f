"""Compresses the text that an app answers with, for browsers that accept gzip. Pure.

HAProxy compresses an answer only if the app has not, the status is 200 to 203, it is no part of a
file, and its `Cache-Control` does not say `no-transform`. A strong ETag becomes a weak one. Event
streams are not in the list of types. While the router has little time left, it compresses nothing.

HAProxy has no switch for this at run time: it decides before any rule for answers is evaluated, and
what it reads of the request is what the app reads. So a change needs a reload, which is hitless:
the watcher asks for it (`jobs.duties.configure_router`).

Source: HAProxy 2.6 Configuration Manual, "compression algo" (read 2026-11-30).
"""

# The share of its time that the router must have left to compress another answer.
IDLE_PERCENT = 40
COMPRESSES = "compression algo"

TYPES = (
    *("text/html", "text/css", "text/plain", "text/javascript", "text/xml", "text/csv"),
    *("text/markdown", "application/javascript", "application/json", "application/xml"),
    *("application/xhtml+xml", "application/rss+xml", "application/atom+xml"),
    *("application/ld+json", "application/manifest+json", "application/problem+json"),
    *("application/vnd.api+json", "image/svg+xml"),
)


def rules() -> str:
    """Give the lines for the backend of an app that wants compression."""
    return f"""\
    {COMPRESSES} gzip
    compression type {" ".join(TYPES)}
"""
