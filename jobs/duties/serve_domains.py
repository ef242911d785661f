"""Bringing the apps' domains and their certificates to the router, and putting right what differs.

The router's own files are written when it starts; from then on this is what keeps it up to date. A
domain that was just claimed works after the next round.
"""

from jobs.deployment.work import Tools
from jobs.processes.runtime import Runtime
from jobs.reads.domains import domain_targets
from jobs.records.certificates import open_certificates
from jobs.settings import WorkerSettings


def serve_domains(runtime: Runtime[WorkerSettings], tools: Tools) -> None:
    """Have the router serve the domains and certificates that the database says, and no others.

    Raises:
        RouterError: it does not answer, or refuses a certificate; all else is served then.
        StorageError: the database cannot be read.
    """
    with runtime.database.reading() as session:
        domains = domain_targets(session)
        certificates = open_certificates(session, runtime.vault)
    # In this order nobody is sent to HTTPS before his domain is known there.
    tools.router.serve_domains(domains)
    tools.router.serve_certificates(certificates)
