"""The names and labels of everything Keystone makes on the Docker Engine. Pure.

Several Keystones may share an engine, so every name holds the identity of its Keystone. A label
alone does not prove ownership: Docker copies the labels of an image to the containers and images
made from it by others, and `docker commit` copies those of a container. So an object is ours only
if it also has the name that we gave it.
"""

import hashlib
import hmac
import re
from collections.abc import Mapping
from urllib.parse import urlsplit

from pydantic import SecretStr

# A valid name of an environment variable. The engine takes any name without a zero byte and `=`;
# these are the characters that programs use: discovery.type, xpack.security-mode,
# ConnectionStrings:Db, my.list[0]. A space, a quote or a slash would need an escape in a file, a
# shell or a URL.
VARIABLE_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.:\[\]-]{0,199}")
VARIABLE_NAME_WORDS = (
    "a variable's name has letters, digits and the signs _ . - : [ ], begins with a letter, a "
    "digit or an underscore, and has at most 200 characters"
)

IDENTITY_LABEL = "keystone.identity"
APP_LABEL = "keystone.app"
DEPLOYMENT_LABEL = "keystone.deployment"
COMMIT_LABEL = "keystone.commit"

DEPLOYMENT_ID = re.compile(r"[1-9][0-9]{0,18}")
# Our image tags: app, seal (missing in tags of older Keystones), commit and recipe.
TAG = re.compile(
    r"keystone-(?P<identity>[a-z0-9]+)/(?P<app>[a-z0-9-]+)(?:/(?P<seal>[0-9a-f]{32}))?"
    r":[0-9a-f]{12}-[0-9a-f]{12}"
)
PART_LENGTH, SEAL_LENGTH = 12, 32
# The prefix of all session cookies of the dashboard, also of older versions. The router does not
# pass cookies with this prefix to apps.
SESSION_COOKIE = "keystone_session"
WEBHOOK_PATH = "/webhooks/github"
# The header with the router's key, in requests from the router to the web process.
ROUTER_HEADER = "X-Keystone-Router"
# The source address of the router's connections to the web process. Any program can use it.
ROUTER_SOURCE = "127.83.75.2"


def container_name(identity: str, app: str, deployment: int) -> str:
    """Give the name of a deployment's container; `deployment` is the deployment's id."""
    return f"keystone-{identity}-{app}-{deployment}"


def network_name(identity: str, app: str) -> str:
    """Give the name of the app's network."""
    return f"keystone-{identity}-{app}"


def image_repository(identity: str, app: str) -> str:
    """Give the part of the app's image tags before the colon."""
    return f"keystone-{identity}/{app}"


def image_tag(repository: str, commit_sha: str, recipe: str, key: SecretStr) -> str:
    """Give the tag of the image that a recipe builds from a commit.

    Any Dockerfile can name any image of the engine (`COPY --from=`), also another app's. So the
    name holds a seal that cannot be computed without this installation's key. The seal stands
    before the colon, because an engine with containerd's image store also accepts
    `repository@sha256:…`.

    Args:
        repository: the result of `image_repository`.
        recipe: the digest of everything that the image depends on besides the commit.
    """
    told = f"{repository}:{commit_sha}-{recipe}".encode()
    seal = hmac.new(key.get_secret_value().encode(), told, hashlib.sha256).hexdigest()
    version = f"{commit_sha[:PART_LENGTH]}-{recipe[:PART_LENGTH]}"
    return f"{repository}/{seal[:SEAL_LENGTH]}:{version}"


def seal_of(tag: str) -> str:
    """Give the secret part of a tag, which gives access to the image; "" if it has none."""
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
    """Give the app whose image a tag names; None if the tag is not one of ours."""
    found = TAG.fullmatch(tag)
    return found["app"] if found and found["identity"] == identity else None


def volume_name(identity: str, app: str, volume: str) -> str:
    """Give the name on the engine of one of the app's volumes."""
    # Neither name holds a dot, so `web` with `a-b` and `web-a` with `b` give different names.
    return f"keystone-{identity}-{app}.{volume}"


def session_cookie(identity: str, *, is_secure: bool) -> str:
    """Give the name of the dashboard's session cookie, different for each Keystone on the host.

    Args:
        is_secure: whether browsers connect by https. They accept a name with the prefix `__Host-`
            only over https and for exactly this host. So neither a page on a neighbouring host nor
            an attacker on the network can set such a cookie.
    """
    return f"{'__Host-' if is_secure else ''}{SESSION_COOKIE}_{identity}"


def labels(identity: str, app: str, deployment: int | None = None) -> dict[str, str]:
    """Give the labels by which Keystone recognises its own objects."""
    found = {IDENTITY_LABEL: identity, APP_LABEL: app}
    if deployment is not None:
        found[DEPLOYMENT_LABEL] = str(deployment)
    return found


def github_host(api_url: str) -> str | None:
    """Give the host of the repositories that an API URL serves."""
    return urlsplit(f"//{github_address(api_url)}").hostname


def github_address(api_url: str) -> str:
    """Give the host of the repositories that an API URL serves, with the port if it has one."""
    parts = urlsplit(api_url)
    # GitHub Enterprise Cloud with data residency: api.octo.ghe.com is the API of octo.ghe.com.
    if (parts.hostname or "").endswith((".github.com", ".ghe.com")):
        return parts.netloc.removeprefix("api.")
    return parts.netloc


def is_on_github(git_url: str, api_url: str) -> bool:
    """Whether a repository is on the host that an API URL serves."""
    return urlsplit(git_url).hostname == github_host(api_url)


def hooks_page(full_name: str, api_url: str) -> str:
    """Give the URL of GitHub's page for a repository's webhooks."""
    return f"https://{github_address(api_url)}/{full_name}/settings/hooks"
