"""The router's rules that filter requests to the apps and the apps' answers to browsers. Pure.

Every frontend has all of these rules.

**Host** is refused unless it is `name[:port]`. Before it is forwarded, it is normalised to the form
that is looked up (lower case, no final dot), because apps build links and redirects from it.

**Keystone's session cookies** would reach every app on the dashboard's host name, since cookies
ignore ports. The rules remove them from requests, and no app's answer can set one. Requests for
Keystone's own address keep them.

**Forwarding headers**, in which proxies state a visitor's address, scheme, host and path, are
accepted only from the proxies in `KEYSTONE_TRUSTED_PROXIES`, and not from other programs on this
machine. Frameworks trust them from any client: Rack and Rails trust X-Forwarded-*, Forwarded and
Client-IP; Gin and chi trust X-Real-IP and True-Client-IP; request-ip and django-ipware trust nearly
every name that ends with -IP; older versions of Symfony trust X-Original-URL and X-Rewrite-URL. The
header `Proxy` is removed from every request: CGI programs read it as HTTP_PROXY.

**Header names** with characters other than letters, digits and dashes are removed from every
request. CGI, WSGI, Rack and PHP turn other characters into underscores, so they read
X_Forwarded_For as X-Forwarded-For.

**A connection stays HTTP.** CONNECT, and any upgrade other than to a WebSocket, would bypass these
rules. `Connection` is rewritten, since a proxy inside the app drops every header that it names.

Source: RFC 9110 sections 7.2 and 7.6.1, RFC 6265 section 5.4, RFC 3875 section 4.1.18 (read
2026-11-30).
"""

from collections.abc import Sequence
from ipaddress import IPv4Network, IPv6Network

from jobs.adapters.haproxy.syntax import refuse
from jobs.rules.domain_names import HIGHEST_PORT, LONGEST_NAME
from jobs.rules.naming import SESSION_COOKIE

Network = IPv4Network | IPv6Network

_NAME, _LITERAL = r"[a-z0-9_-]+(\.[a-z0-9_-]+)*\.?", r"\[[0-9a-f:.]+\]"
_AUTHORITY = rf"^({_NAME}|{_LITERAL})(:[1-9][0-9]{{0,4}})?$"
_LONGEST_HOST = LONGEST_NAME + len(".:65535")
BAD_HOST = "The Host header must be a name, with a port or without."

# A usual request is a GET or HEAD that passes all rules of this module unchanged, which a look at
# its host and at the names of its headers shows. These names mean nothing to any rule.
_USUAL_NAMES = (
    "host", "user-agent", "accept", "accept-(encoding|language|charset)", "referer", "origin",
    "authorization", "range", "if-(none-match|modified-since|match|unmodified-since|range)",
    "cache-control", "pragma", "dnt", "upgrade-insecure-requests", "priority", "from",
    "sec-(fetch|ch)-[a-z-]+", "sec-gpc", "save-data", "content-type", "x-requested-with",
    "traceparent", "tracestate", "cookie",
)  # fmt: skip
# In normal form, and shorter than the longest name whatever its port is.
_USUAL_LABEL = "[a-z0-9_-]{1,60}"
_USUAL_AUTHORITY = (
    rf"^{_USUAL_LABEL}(\.{_USUAL_LABEL}){{0,3}}(:[1-9][0-9]{{0,3}}|:[1-5][0-9]{{4}})?$"
)

_TOLD_BY_PROXIES = "|".join((
    "(x-)?forwarded.*", ".*-ip", ".*client-?ip",
    "x-original-(url|uri|host|proto|scheme|for|method)", "x-rewrite-ur[il]",
    "x-(url-)?scheme", "x-(http-)?host(-override)?", "front-end-https",
))  # fmt: skip

# The ACLs `has_body` and `is_whole`. HTTP/2 does not announce every body in a header, so the second
# one asks whether the request ends with what has been received.
BODY_ACLS = """\
    acl has_body req.hdr_val(Content-Length) gt 0
    acl has_body req.hdr(Transfer-Encoding) -m found
    acl has_body req.body_len gt 0
    acl is_whole internal.htx.has_eom
"""

# The optional prefix is one that browsers treat specially, like __Host-.
_OURS = rf"(__[a-z]+-)?{SESSION_COOKIE}"
# Browsers send one Cookie header, and HAProxy joins the Cookie headers of an HTTP/2 request.
_MOST_COOKIE_LINES = 4

# Untrusted proxies with private or local addresses, which `keystone doctor` lists because the
# operator probably runs them.
UNBELIEVED = "unbelieved_proxies"
_LOCAL_NETWORKS = "127.0.0.0/8 10.0.0.0/8 172.16.0.0/12 192.168.0.0/16 ::1 fc00::/7"


def tables() -> str:
    """Give the stick table that the request rules fill."""
    return f"backend {UNBELIEVED}\n    stick-table type ipv6 size 20 expire 24h store conn_cur\n"


def acls(trusted: Sequence[Network], own: str) -> str:
    """Give the ACLs by which the rules recognise the client.

    Args:
        trusted: the trusted proxies.
        own: the source address that only Keystone itself uses.
    """
    # One line for each network, because HAProxy accepts at most 64 words on a line.
    lines = [f"acl trusted src {network}" for network in trusted] or ["acl trusted always_false"]
    return "".join(f"    {line}\n" for line in (*lines, f"acl own src {own}"))


def usual_rules(scheme: str) -> str:
    """Give the rules that recognise a usual request, and add its forwarding headers.

    A usual request needs no other rule of this module: a frontend skips them by `allow if usual`.

    Args:
        scheme: "http" or "https".
    """
    names = "|".join(_USUAL_NAMES)
    # Over HTTP/1.1 the names of the headers tell whether there is a body.
    acls, bodiless = (BODY_ACLS, " is_whole !has_body") if scheme == "https" else ("", "")
    return f"""\
    http-request del-header Connection if {{ req.fhdr(Connection) -m str -i keep-alive }}
    acl usual_line url_beg /
    acl usual_host req.fhdr(Host) -m reg '{_USUAL_AUTHORITY}'
    acl usual_names req.hdr_names -m reg '^({names})(,({names}))*$'
    acl has_our_cookie req.fhdr(Cookie) -m sub -i {SESSION_COOKIE}
{acls}\
    http-request set-var(txn.usual) bool(1) \
if METH_GET usual_line usual_host usual_names !has_our_cookie{bodiless}
    acl usual var(txn.usual) -m found
    http-request add-header X-Forwarded-Proto {scheme} if usual
    http-request add-header X-Forwarded-Host %[req.fhdr(Host)] if usual
"""


def request_rules() -> str:
    """Give the rules for requests and answers; they use the ACLs `trusted` and `for_keystone`."""
    return "".join((_host(), _target(), _connection(), _cookies(), _forwarding(), _answers()))


def _host() -> str:
    has_none = "{ req.ver 1.0 } !{ req.fhdr(Host) -m found }"
    return (
        "    http-request set-var(txn.asked) req.fhdr(Host),lower\n"
        f"    acl is_named var(txn.asked) -m reg '{_AUTHORITY}'\n"
        + refuse(400, BAD_HOST, f"unless is_named || {has_none}")
        + refuse(400, BAD_HOST, f"if {{ var(txn.asked) -m len gt {_LONGEST_HOST} }}")
        + refuse(400, BAD_HOST, f"if {{ var(txn.asked),port_only gt {HIGHEST_PORT} }}")
        + "    acl ends_with_dot var(txn.asked) -m end .\n"
        "    acl ends_with_dot var(txn.asked) -m sub .:\n"
        "    http-request set-var(txn.asked) "
        '\'var(txn.asked),regsub("[.](:|$)","\\1")\' if ends_with_dot\n'
        "    http-request set-header Host %[var(txn.asked)] if is_named\n"
    )


def _target() -> str:
    no_path = "unless { path_beg / } || METH_OPTIONS { url -m str * }"
    return (
        refuse(405, "The router is no proxy for CONNECT.", "if METH_CONNECT")
        + refuse(400, "The path of the address must begin with a slash.", no_path)
        # An absolute URL in the request line also names a host, so reduce it to the path.
        + "    http-request set-uri %[pathq] if { path_beg / } !{ url_beg / }\n"
    )


def _connection() -> str:
    wanted = "if { var(txn.websocket) -m found }"
    return (
        "    acl may_upgrade req.hdr(Connection) -i upgrade\n"
        # HTTP/2 has no Connection header; HAProxy turns a WebSocket's CONNECT into an Upgrade.
        "    acl may_upgrade req.ver -m str 2.0\n"
        "    http-request set-var(txn.websocket) bool(1) "
        "if may_upgrade { req.fhdr(Upgrade) -i websocket }\n"
        "    http-request del-header Upgrade\n"
        "    http-request del-header HTTP2-Settings\n"
        "    http-request del-header Connection\n"
        f"    http-request set-header Upgrade websocket {wanted}\n"
        f"    http-request set-header Connection Upgrade {wanted}\n"
    )


def _cookies() -> str:
    found = "if { var(txn.ours) -m found }"
    lines = "; ".join(f"%[req.fhdr(Cookie,{line})]" for line in range(1, _MOST_COOKIE_LINES + 1))
    others = (
        "%[req.fhdr(Cookie),"
        f'regsub("(^|;)[[:blank:]]*{_OURS}[^;]*","",gi),'
        'regsub("^[[:blank:];]+",""),regsub("[[:blank:];]+$","")]'
    )
    count = "req.fhdr_cnt(Cookie) gt"
    return (
        "    http-request set-var(txn.ours) bool(1) "
        f"if !for_keystone {{ req.fhdr(Cookie) -m reg -i '(^|;)[[:blank:]]*{_OURS}' }}\n"
        + refuse(400, "Send one Cookie header.", f"{found} {{ {count} {_MOST_COOKIE_LINES} }}")
        + f"    http-request set-header Cookie '{lines}' {found} {{ {count} 1 }}\n"
        f"    http-request set-header Cookie '{others}' {found}\n"
        f"    http-request del-header Cookie {found} {{ req.fhdr(Cookie) -m len 0 }}\n"
    )


def _forwarding() -> str:
    return f"""\
    http-request track-sc2 src table {UNBELIEVED} \
if !trusted {{ req.hdr(X-Forwarded-For) -m found }} {{ src {_LOCAL_NETWORKS} }}
    http-request del-header Proxy
    http-request del-header '^({_TOLD_BY_PROXIES})$' -m reg unless trusted
    acl told_proto req.hdr(X-Forwarded-Proto) -m found
    acl told_host req.hdr(X-Forwarded-Host) -m found
    http-request set-header X-Forwarded-Proto http unless told_proto
    http-request set-header X-Forwarded-Host %[var(txn.asked)] if is_named !told_host
    option forwardfor if-none
    option http-restrict-req-hdr-names delete
"""


def _answers() -> str:
    # Browsers store `=name=value` as a cookie without a name, and send it as `name=value`.
    ours = "".join(f"[{each.upper()}{each}]" if each.isalpha() else each for each in SESSION_COOKIE)
    # HAProxy cannot remove a single header line, so empty its value: that sets no cookie.
    planted = f"^[^A-Za-z0-9_]*(__[A-Za-z]+-)?{ours}.*"
    emptied = f"replace-header Set-Cookie '{planted}' '%[str()]'"
    return f"    http-response {emptied} unless for_keystone\n"
