"""The private Redis of a Keystone without KEYSTONE_REDIS_URL: on a Unix socket, persistent."""

import shutil

from jobs.errors import ConfigurationError
from jobs.settings import Settings
from jobs.system.private_folder import ensure_private

NAMES = ("redis-server", "valkey-server")


def find_redis_server() -> str | None:
    """Give the path of the first installed Redis server; None when there is none."""
    return next((path for name in NAMES if (path := shutil.which(name))), None)


def redis_command(settings: Settings) -> list[str]:
    """Give the command line of the private Redis, and create its folders.

    Raises:
        ConfigurationError: no Redis server is installed.
        StorageError: a folder cannot be created, or is open to other users.
    """
    server = find_redis_server()
    if server is None:
        raise ConfigurationError(
            "no redis-server is installed: `apt-get install redis-server`, "
            "or name a Redis in KEYSTONE_REDIS_URL"
        )
    folder = ensure_private(settings.redis_dir)
    ensure_private(settings.socket_dir)
    ensure_private(settings.redis_socket.parent)
    return [
        server,
        *("--port", "0"),
        *("--unixsocket", str(settings.redis_socket)),
        # The folder restricts access to the socket: to us, or to our users that need Redis.
        *("--unixsocketperm", "777"),
        *("--appendonly", "yes"),
        # Costs a millisecond for each wake-up, but no wake-up is lost in a power failure.
        *("--appendfsync", "always"),
        *("--save", ""),
        *("--dir", str(folder)),
        *("--loglevel", "warning"),
    ]
