"""The names and labels of everything Keystone makes on the Docker Engine. Pure.

Two Keystones may share an engine, so every name carries the identity of its own. A label alone
proves nothing: Docker hands the labels of an image on to the containers and images that others make
of it, and `docker commit` those of a container. What is ours also has the name we gave it.
"""

import hashlib
import hmac
import re
from collections.abc import Mapping
from urllib.parse import urlsplit

from pydantic import SecretStr

# What an environment variable may be called.
VARIABLE_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,199}")

IDENTITY_LABEL = "keystone.identity"
APP_LABEL = "keystone.app"
DEPLOYMENT_LABEL = "keystone.deployment"
COMMIT_LABEL = "keystone.commit"

DEPLOYMENT_ID = re.compile(r"[1-9][0-9]{0,18}")
# Our tags: app, a seal in all but those of older Keystones, commit and recipe.
TAG = re.compile(
    r"keystone-(?P<identity>[a-z0-9]+)/(?P<app>[a-z0-9-]+)(?:/(?P<seal>[0-9a-f]{32}))?"
    r":[0-9a-f]{12}-[0-9a-f]{12}"
)
PART_LENGTH, SEAL_LENGTH = 12, 32
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


def image_tag(repository: str, commit_sha: str, recipe: str, key: SecretStr) -> str:
    """Give the image of a commit, made by a recipe, its tag.

    Any Dockerfile can name an image of the engine (`COPY --from=`), another app's too. So the name
    holds a seal that nobody can work out without this installation's key. It stands before the
    colon, because an engine with containerd's image store takes `repository@sha256:…` as well.

    Args:
        repository: what `image_repository` gave.
        recipe: the digest of all that the image depends on besides the commit.
    """
    told = f"{repository}:{commit_sha}-{recipe}".encode()
    seal = hmac.new(key.get_secret_value().encode(), told, hashlib.sha256).hexdigest()
    version = f"{commit_sha[:PART_LENGTH]}-{recipe[:PART_LENGTH]}"
    return f"{repository}/{seal[:SEAL_LENGTH]}:{version}"


def seal_of(tag: str) -> str:
    """Give the part of a tag that nobody may see who may not use the image; "" when it has none."""
    found = TAG.fullmatch(tag)
    return (found["seal"] or "") if found else ""


def shown_tag(tag: str) -> str:
    """Give a tag without its seal, for logs and pages."""
    seal = seal_of(tag)
    return tag.replace(f"/{seal}:", ":") if seal else tag


def owns_container(identity: str, name: str, labels: Mapping[str, str]) -> bool:
    """Whether a container has our labels and the name that follows from them."""
    app, deployment = labels.get(APP_LABEL, ""), labels.get(DEPLOYMENT_LABEL, "")
    if labels.get(IDENTITY_LABEL) != identity or not DEPLOYMENT_ID.fullmatch(deployment):
        return False
    return name == container_name(identity, app, int(deployment))


def owns_network(identity: str, name: str, labels: Mapping[str, str]) -> bool:
    """Whether a network has our labels and the name that follows from them."""
    is_ours = labels.get(IDENTITY_LABEL) == identity
    return is_ours and name == network_name(identity, labels.get(APP_LABEL, ""))


def tagged_app(identity: str, tag: str) -> str | None:
    """Give the app whose image a tag names; None when it is no tag that we give."""
    found = TAG.fullmatch(tag)
    return found["app"] if found and found["identity"] == identity else None


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
    return urlsplit(f"//{github_address(api_url)}").hostname


def github_address(api_url: str) -> str:
    """Give the host whose repositories an API URL speaks for, with its port if that has one."""
    parts = urlsplit(api_url)
    return "github.com" if parts.hostname == "api.github.com" else parts.netloc


def is_on_github(git_url: str, api_url: str) -> bool:
    """Whether a repository is fetched from the host that an API URL speaks for."""
    return urlsplit(git_url).hostname == github_host(api_url)


def hooks_page(full_name: str, api_url: str) -> str:
    """Give the page of GitHub's where a repository's webhooks are."""
    return f"https://{github_address(api_url)}/{full_name}/settings/hooks"
