"""The web process's command line; its app is named only, since the receiver imports us."""

import sys

from jobs.settings import Settings

APP = "receiver.app:create_app"
PROTOCOL = "receiver.protocol:BoundedHttp"
STOP_WITHIN_S = 5
# Connections that the kernel accepts for us. All of them may come in one turn of the event loop,
# before the first can be closed again, and each takes a file.
BACKLOG = 1024


def web_command(settings: Settings) -> list[str]:
    """Give the command line of the web process."""
    return [
        *(sys.executable, "-P", "-m", "uvicorn", "--factory", APP),
        *("--host", settings.host, "--port", str(settings.port)),
        *("--loop", "uvloop", "--http", PROTOCOL, "--ws", "none", "--lifespan", "on"),
        "--no-server-header",
        "--no-access-log",
        # Who is asking is the receiver's own question; a header alone is never believed.
        "--no-proxy-headers",
        *("--timeout-graceful-shutdown", str(STOP_WITHIN_S)),
        *("--timeout-keep-alive", "10"),
        # `receiver.connections` bounds them: one number for all would be used up by anybody.
        *("--backlog", str(BACKLOG)),
        # Each request that is not HTTP is worth a warning to uvicorn, at the pace of who sends it.
        *("--log-level", "error"),
    ]
