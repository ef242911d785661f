"""Where the Docker Engine is reached, as the BuildKit client needs it."""

import ssl
from urllib.parse import urlsplit

from docker.api import APIClient
from docker.transport import UnixHTTPAdapter

from jobs.adapters.buildkit.transport import Address
from jobs.errors import DockerError


def engine_address(api: APIClient) -> Address:
    """Give the address behind the SDK's connection, for the connections a build makes itself.

    Raises:
        DockerError: it is of a kind that builds cannot use.
    """
    adapter = api.get_adapter(api.base_url)
    if isinstance(adapter, UnixHTTPAdapter):
        return Address(socket_path=adapter.socket_path)
    url = urlsplit(api.base_url)
    if url.scheme not in {"http", "https"} or url.hostname is None or url.port is None:
        raise DockerError("images are built over unix:// and tcp:// only; change DOCKER_HOST")
    tls = _tls(api) if url.scheme == "https" else None
    return Address(host=url.hostname, port=url.port, tls=tls)


def _tls(api: APIClient) -> ssl.SSLContext:
    """Check the engine's certificate, and show ours, exactly as the SDK does."""
    context = ssl.create_default_context(cafile=api.verify if isinstance(api.verify, str) else None)
    if not api.verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    if isinstance(api.cert, tuple):
        context.load_cert_chain(*api.cert)
    return context
