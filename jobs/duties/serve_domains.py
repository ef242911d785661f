"""Keeps the router's domains and certificates in line with the database.

The router's files are written when it starts; from then on this duty keeps it up to date. A domain
that was just claimed works after the next round. It also ensures that requests for Keystone's own
address do not wait at the router for ever.
"""

from jobs.deployment.work import Tools
from jobs.processes.runtime import Runtime
from jobs.reads.domains import domain_targets
from jobs.records.certificates import open_certificates
from jobs.settings import WorkerSettings


def serve_domains(runtime: Runtime[WorkerSettings], tools: Tools) -> None:
    """Make the router serve exactly the domains and certificates in the database.

    Raises:
        RouterError: it does not answer, or refuses a certificate; everything else is served then.
        StorageError: the database cannot be read.
    """
    with runtime.database.reading() as session:
        domains = domain_targets(session)
        certificates = open_certificates(session, runtime.vault)
    # A process that holds Keystone's own address stops the watcher first, so it has died by now.
    tools.router.release()
    # In this order no visitor is redirected to HTTPS before the router knows the domain there.
    tools.router.serve_domains(domains)
    tools.router.serve_certificates(certificates)
