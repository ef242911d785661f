"""The names and labels of everything Keystone makes on the Docker Engine. Pure.

Two Keystones may share an engine, so every name carries the identity of its own, and nothing
without the identity's label is ever touched.
"""

import re
from urllib.parse import urlsplit

# What an environment variable may be called.
VARIABLE_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,199}")

IDENTITY_LABEL = "keystone.identity"
APP_LABEL = "keystone.app"
DEPLOYMENT_LABEL = "keystone.deployment"
COMMIT_LABEL = "keystone.commit"

# How all session cookies of the dashboard begin, those of older versions too. The router keeps
# cookies that begin like this from apps.
SESSION_COOKIE = "keystone_session"


def container_name(identity: str, app: str, deployment: int) -> str:
    """Give the container of one deployment its name; `deployment` is the deployment's id."""
    return f"keystone-{identity}-{app}-{deployment}"


def network_name(identity: str, app: str) -> str:
    """Give the app's own network its name."""
    return f"keystone-{identity}-{app}"


def image_repository(identity: str, app: str) -> str:
    """Give the part of the app's image tags before the colon."""
    return f"keystone-{identity}/{app}"


def volume_name(identity: str, app: str, volume: str) -> str:
    """Give one of the app's volumes its name on the engine."""
    # No name holds a dot, so the volume `a-b` of `web` is never the volume `b` of `web-a`.
    return f"keystone-{identity}-{app}.{volume}"


def session_cookie(identity: str, *, is_secure: bool) -> str:
    """Give the dashboard's session cookie its name: other Keystones on the host have other names.

    Args:
        is_secure: whether browsers come by https. They take a name that begins with `__Host-` only
            from there and for this one host: no neighbour, and nobody on the line, can plant one.
    """
    return f"{'__Host-' if is_secure else ''}{SESSION_COOKIE}_{identity}"


def labels(identity: str, app: str, deployment: int | None = None) -> dict[str, str]:
    """Give the labels by which Keystone knows its own things again."""
    found = {IDENTITY_LABEL: identity, APP_LABEL: app}
    if deployment is not None:
        found[DEPLOYMENT_LABEL] = str(deployment)
    return found


def github_host(api_url: str) -> str | None:
    """Give the host whose repositories an API URL speaks for."""
    host = urlsplit(api_url).hostname
    return "github.com" if host == "api.github.com" else host
