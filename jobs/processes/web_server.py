"""The web process's command line; it only names the app, since the receiver imports us."""

import sys

from jobs.settings import Settings

APP = "receiver.app:create_app"
PROTOCOL = "receiver.protocol:BoundedHttp"
STOP_WITHIN_S = 5
# Connections that the kernel queues for us. The event loop may accept all of them in one iteration,
# before it can close the first one again, and each takes a file descriptor.
BACKLOG = 1024


def web_command(settings: Settings) -> list[str]:
    """Give the command line of the web process."""
    return [
        *(sys.executable, "-P", "-m", "uvicorn", "--factory", APP),
        *("--host", settings.host, "--port", str(settings.port)),
        *("--loop", "uvloop", "--http", PROTOCOL, "--ws", "none", "--lifespan", "on"),
        "--no-server-header",
        "--no-access-log",
        # The receiver itself determines the client's address; it never trusts a header alone.
        "--no-proxy-headers",
        *("--timeout-graceful-shutdown", str(STOP_WITHIN_S)),
        *("--timeout-keep-alive", "10"),
        # `receiver.connections` limits connections: any one client could use up a global limit.
        *("--backlog", str(BACKLOG)),
        # uvicorn logs a warning for each request that is not HTTP, as fast as a client sends them.
        *("--log-level", "error"),
    ]
