"""Checks that the dashboard shares its host name with no app. SELECTs only.

Browsers send cookies to every port of a host name, and any page of that host can set them. The
router does not pass the dashboard's cookies to apps. But a script in an app's page can still set
one, unless the dashboard has another host name, or uses https, where the name of its cookie begins
with `__Host-`.
"""

from ipaddress import ip_address

from sqlmodel import Session, select

from jobs.settings import Settings
from jobs.storage.models import Domain


def name_advice(session: Session, settings: Settings) -> str:
    """Say what to do so that the dashboard has its own host name; "" if there is nothing to do.

    As long as no app has a domain, nothing needs to be done.
    """
    if session.exec(select(Domain.id).limit(1)).first() is None:
        return ""
    name = settings.dashboard_name
    if not name:
        return (
            "has no host name of its own, while apps have domains: point a name at it that no app "
            "has, and set KEYSTONE_PUBLIC_URL=https://THAT.NAME"
        )
    if session.exec(select(Domain.id).where(Domain.name == name)).first() is not None:
        return (
            f"shares the name {name} with an app, which may set cookies for it: give the app "
            "another domain, or the dashboard another KEYSTONE_PUBLIC_URL"
        )
    if not settings.public_url.startswith("https://") and not _is_loopback(settings.app_bind):
        return (
            f"is at {name} by http, where the apps' ports are, too: put it behind https, or set "
            "KEYSTONE_APP_BIND=127.0.0.1, since apps with domains need no ports"
        )
    return ""


def _is_loopback(address: str) -> bool:
    return ip_address(address).is_loopback
