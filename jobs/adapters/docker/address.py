"""The Docker Engine's address, in the form that the BuildKit client needs."""

import ssl
from urllib.parse import urlsplit

from docker.api import APIClient
from docker.transport import UnixHTTPAdapter

from jobs.adapters.buildkit.transport import Address
from jobs.errors import DockerError


def engine_address(api: APIClient) -> Address:
    """Give the address that the SDK connects to, for the connections that a build opens itself.

    Raises:
        DockerError: builds do not support this kind of address.
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
    """Give a TLS context that checks the engine's certificate and sends ours, as the SDK does."""
    context = ssl.create_default_context(cafile=api.verify if isinstance(api.verify, str) else None)
    if not api.verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    if isinstance(api.cert, tuple):
        context.load_cert_chain(*api.cert)
    return context
