"""How much disk space Keystone uses, on the engine and in its data directory."""

import os
from pathlib import Path

from jobs.rules.container_values import Usage
from jobs.settings import Settings

MB = 1024 * 1024


def describe_engine(usage: Usage, free: int | None) -> str:
    """Describe what is on the engine's disk; `free` is in bytes, None is unknown."""
    images = f"{usage.images} images, {usage.image_bytes // MB} MB at most"
    cache = f"the engine's build cache, {usage.cache_bytes // MB} MB (KEYSTONE_BUILD_CACHE_MB)"
    left = "" if free is None else f"; {free // MB} MB free"
    return f"{images}; {usage.containers} containers; {cache}{left}"


def describe_data(settings: Settings) -> str:
    """Describe what is in the data directory."""
    logs, mirrors = folder_bytes(settings.logs_dir), folder_bytes(settings.mirrors_dir)
    told = f"logs {logs // MB} MB, mirrors {mirrors // MB} MB"
    if settings.database_url:
        return f"{told}; the database is elsewhere"
    # SQLite keeps the latest writes in files beside the database.
    database = sum(map(_size, settings.data_dir.glob("keystone.db*")))
    return f"{told}, database {database // MB} MB"


def folder_bytes(folder: Path) -> int:
    """Add up the sizes of the files below a folder; 0 if it is missing. Follows no links."""
    found = 0
    for path, _folders, files in os.walk(folder):
        found += sum(_size(Path(path, name)) for name in files)
    return found


def _size(path: Path) -> int:
    try:
        return path.lstat().st_size
    except OSError:  # the file was removed meanwhile
        return 0
