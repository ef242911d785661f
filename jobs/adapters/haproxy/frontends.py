"""The router's frontends: the apps' own ports, and the ports on which domains are served. Pure.

All frontends apply the same rules to visitors, so one function generates them all. Each frontend
repeats the rules, because HAProxy 2.6 applies the `tcp-request` rules of a `defaults` section only
to frontends with such rules of their own.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from jobs.adapters.haproxy import assets, moved, own_address, requests, shares
from jobs.adapters.haproxy.domains import CERTIFICATE_LIST, CERTIFIED, HOSTS
from jobs.adapters.haproxy.own_address import OwnAddress
from jobs.adapters.haproxy.shares import OWN_SOURCE, Shares
from jobs.adapters.haproxy.syntax import bind_address, refuse

APPS, HTTP, HTTPS = "apps", "http_domains", "https_domains"
STANDARD_HTTPS = 443

_TLS = f"ssl crt-list {CERTIFICATE_LIST} strict-sni alpn h2,http/1.1 ssl-min-ver TLSv1.2"


@dataclass(frozen=True)
class DomainDoors:
    """Where the router listens for domains; a port of None disables the scheme."""

    bind: str
    http: int | None = None
    https: int | None = None

    @property
    def ways(self) -> list[str]:
        """The names of all frontends, given these ports."""
        return [APPS, *[HTTP] * (self.http is not None), *[HTTPS] * (self.https is not None)]


@dataclass(frozen=True)
class Policy:
    """The limits and rules for visitors.

    Attributes:
        places: how many connections the router may hold.
        trusted: the trusted proxies, which forward the requests of many visitors.
        address: Keystone's own address, which takes precedence over every app's domain; None: the
            router does not serve it.
    """

    places: int
    trusted: Sequence[requests.Network] = ()
    address: OwnAddress | None = None

    @property
    def shares(self) -> Shares:
        """The connection limits that follow from the number of places."""
        return Shares(self.places)

    @property
    def acls(self) -> str:
        """The ACLs `trusted` and `own`, for any section."""
        return requests.acls(self.trusted, OWN_SOURCE)


@dataclass(frozen=True)
class _Way:
    """The parts of one frontend that differ from the other frontends."""

    name: str
    binds: Sequence[str]
    shares: str = ""  # rules about connections and HTTP/2
    leads: str = ""  # rules that select the app
    address: OwnAddress | None = None  # Keystone's own address, where it is served


def frontends(bind: str, ports: Sequence[int], doors: DomainDoors, policy: Policy) -> str:
    """Give all frontends.

    Args:
        bind: the address of the apps' ports.
        ports: the apps' ports, in ascending order.

    Raises:
        ConfigurationError: an address is invalid.
    """
    return "\n".join(_frontend(way, doors, policy) for way in _ways(bind, ports, doors, policy))


def _ways(bind: str, ports: Sequence[int], doors: DomainDoors, policy: Policy) -> Iterator[_Way]:
    yield _Way(
        APPS,
        [_bind(bind, f"{run[0]}-{run[1]}", setting="KEYSTONE_APP_BIND") for run in _runs(ports)],
        shares=shares.port_rules(policy.shares),
        leads=_to_app("dst_port", policy),
    )
    own, lookup = policy.address, _lookup()
    to_app = _to_app("var(txn.port)", policy, own)
    if doors.http is not None:
        redirect = "" if doors.https is None else _redirect(doors.https, own)
        yield _Way(
            HTTP,
            [_domain_bind(doors.bind, doors.http)],
            leads=lookup + redirect + to_app,
            address=own,
        )
    if doors.https is not None:
        yield _Way(
            HTTPS,
            [f"{_domain_bind(doors.bind, doors.https)} {_TLS}"],
            shares=shares.stream_rules(policy.shares),
            leads=f"    http-request set-header X-Forwarded-Proto https\n{lookup}{to_app}",
            address=own,
        )


def _to_app(port: str, policy: Policy, own: OwnAddress | None = None) -> str:
    """Give the rules that select the app's backend."""
    return (
        assets.frontend_rules(port)
        + moved.lookup(port)
        + own_address.leads(own)
        # Before `moved`: behind the doors of old assets is the newest worker, which has not moved.
        + assets.lead(places=policy.places)
        + moved.leads()
        + f"    use_backend port_%[{port}]\n"
    )


def _frontend(way: _Way, doors: DomainDoors, policy: Policy) -> str:
    return "".join(
        (
            f"frontend {way.name} from visitors\n",
            *(f"    bind {bind}\n" for bind in way.binds),
            policy.acls,
            own_address.acl(way.address),
            shares.connection_rules(policy.shares, doors.ways),
            way.shares,
            requests.request_rules(),
            way.leads,
        )
    )


def _runs(ports: Sequence[int]) -> Iterator[tuple[int, int]]:
    """Give the first and last port of each contiguous range."""
    first = last = ports[0]
    for port in ports[1:]:
        if port != last + 1:
            yield first, last
            first = port
        last = port
    yield first, last


def _domain_bind(bind: str, port: int) -> str:
    return _bind(bind, str(port), setting="KEYSTONE_DOMAIN_BIND")


def _bind(bind: str, ports: str, *, setting: str) -> str:
    host = bind_address(bind, setting=setting)
    return f"{f'[{host}]' if ':' in host else host}:{ports}{' v4v6' if host == '::' else ''}"


def _lookup() -> str:
    """Give the rules that look up a host: by its name, then with `*` for its first label."""
    return (
        refuse(400, requests.BAD_HOST, "unless is_named")
        + "    http-request set-var(txn.host) var(txn.asked),host_only\n"
        f"    http-request set-var(txn.port) var(txn.host),map({HOSTS})\n"
        f"    http-request set-var(txn.port) var(txn.host),regsub(^[^.]+,*),map({HOSTS}) "
        "if !{ var(txn.port) -m found }\n"
        + refuse(
            421,
            "No app here has this domain.",
            f"unless {own_address.ACL} || {{ var(txn.port) -m found }}",
        )
    )


def _redirect(https_port: int, own: OwnAddress | None) -> str:
    """Give the rules that redirect visitors to HTTPS unless they or their proxy use it already."""
    port = "" if https_port == STANDARD_HTTPS else f":{https_port}"
    unless_by_http = "" if own is None or own.is_https else f" !{own_address.ACL}"
    return (
        f"    http-request set-var(txn.tls) var(txn.host),map({CERTIFIED})\n"
        f"    http-request set-var(txn.tls) var(txn.host),regsub(^[^.]+,*),map({CERTIFIED}) "
        "unless { var(txn.tls) -m found }\n"
        f"    http-request redirect code 308 location https://%[var(txn.host)]{port}%[pathq] "
        "if { var(txn.tls) -m found } { path_beg / } !{ req.hdr(X-Forwarded-Proto) https }"
        f"{unless_by_http}\n"
    )
