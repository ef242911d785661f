"""The web process's command line; its app is named only, since the receiver imports us."""

import sys

from jobs.settings import Settings

APP = "receiver.app:create_app"
PROTOCOL = "receiver.protocol:BoundedHttp"
STOP_WITHIN_S = 5
# Below the 1024 files a process may usually open, with room for the database and the logs.
MOST_CONNECTIONS = 800


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
        *("--limit-concurrency", str(MOST_CONNECTIONS)),
        *("--log-level", "warning"),
    ]
