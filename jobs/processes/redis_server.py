"""The private Redis of a Keystone that was given none: a child on a Unix socket, kept on disk."""

import shutil

from jobs.errors import ConfigurationError
from jobs.settings import Settings
from jobs.system.private_folder import ensure_private

NAMES = ("redis-server", "valkey-server")


def find_redis_server() -> str | None:
    """Give the path of the first Redis server there is, or None."""
    return next((path for name in NAMES if (path := shutil.which(name))), None)


def redis_command(settings: Settings) -> list[str]:
    """Give the command line of the private Redis; its folders exist afterwards.

    Raises:
        ConfigurationError: no Redis server is installed.
        StorageError: a folder cannot be made, or is open to others.
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
        # Who may enter its folder may use it: we alone, or those of our users who need Redis.
        *("--unixsocketperm", "777"),
        *("--appendonly", "yes"),
        # A millisecond for each wake-up, and none is lost with the power.
        *("--appendfsync", "always"),
        *("--save", ""),
        *("--dir", str(folder)),
        *("--loglevel", "warning"),
    ]
