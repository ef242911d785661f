"""Stores the domains of apps, and the ports on which the router serves domains."""

from collections.abc import Mapping, Sequence

from sqlmodel import Session, col, select

from jobs.errors import ConflictError, Mistake
from jobs.storage.models import App, Domain, DomainPort


def domains_of(session: Session, app: App) -> list[str]:
    """Give an app's domains; the first one is its address."""
    statement = select(Domain.name).where(Domain.app_id == app.id).order_by(col(Domain.id))
    return list(session.exec(statement).all())


def claim_domains(session: Session, app: App, wanted: Sequence[str]) -> None:
    """Set an app's domains, in this order; its other domains are released.

    Raises:
        ConflictError: another app has one of the domains.
    """
    _refuse_others(session, app, wanted)
    rows = session.exec(select(Domain).where(Domain.app_id == app.id)).all()
    since = {row.name: row.created_at for row in rows}
    for row in rows:
        session.delete(row)
    session.flush()
    for name in wanted:
        row = Domain(app_id=app.id or 0, name=name)
        row.created_at = since.get(name, row.created_at)
        session.add(row)
        session.flush()  # one by one, because the order of the ids is the order of the domains


def _refuse_others(session: Session, app: App, wanted: Sequence[str]) -> None:
    statement = (
        select(Domain.name, App.name)
        .join(App, col(App.id) == Domain.app_id)
        .where(col(Domain.name).in_(wanted), Domain.app_id != app.id)
    )
    taken = session.exec(statement.order_by(Domain.name)).all()
    if taken:
        told = ", ".join(f"{domain} belongs to {owner}" for domain, owner in taken)
        raise ConflictError(Mistake("domains", f"{told} already"))


def note_domain_ports(session: Session, ports: Mapping[str, int]) -> None:
    """Store the ports on which the router serves domains, by scheme."""
    for row in session.exec(select(DomainPort)).all():
        session.delete(row)
    session.flush()
    session.add_all(DomainPort(scheme=scheme, port=port) for scheme, port in ports.items())
