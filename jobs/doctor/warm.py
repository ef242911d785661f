"""Shows in `keystone doctor` which replaced containers still run, and until when."""

from sqlalchemy.exc import SQLAlchemyError

from jobs.doctor.reading import reading
from jobs.errors import KeystoneError
from jobs.reads.warm import warm_apps, warm_number
from jobs.rules.findings import Finding, Verdict
from jobs.settings import Settings

NAME = "warm containers"


def warm_containers(settings: Settings) -> Finding:
    """List the warm containers: they take memory beside the live ones."""
    try:
        with reading(settings) as session:
            found = [
                f"v{warm_number(session, app)} of {app.name} until {app.warm_until:%H:%M} UTC"
                for app in warm_apps(session)
            ]
    except (KeystoneError, SQLAlchemyError):
        return Finding(NAME, Verdict.IDLE, "unknown: the database cannot be read")
    return Finding(NAME, Verdict.OK, ", ".join(found) or "none")
