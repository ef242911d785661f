"""Asks for a reload of the router when its configuration lacks what an app's settings say.

Routes, domains and certificates change in the running router. Compression does not, so the
configuration is written again and reloaded. The router may belong to root, so the supervisor does
that: the watcher leaves a file that asks for it.
"""

from jobs.adapters.haproxy.files import RouterFiles
from jobs.processes.runtime import Runtime
from jobs.reads.apps import compressed_ports
from jobs.settings import WorkerSettings


def configure_router(runtime: Runtime[WorkerSettings]) -> None:
    """Ask for a reload if other ports are compressed than the apps want.

    An operator's own HAProxy is left alone: `keystone doctor` says that it is outdated.

    Raises:
        RouterError: the router's files cannot be read.
        StorageError: the database cannot be read.
    """
    settings = runtime.settings
    files = RouterFiles(settings.router_dir)
    if settings.router_socket or not files.exist():
        return
    with runtime.database.reading() as session:
        wanted = compressed_ports(session)
    # A port that another program has is in no configuration.
    if wanted.intersection(files.routes()) != files.compressed():
        files.want_reload()
