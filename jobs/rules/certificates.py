"""Checks a certificate before the router gets it. Pure, except `is_loadable`, which reads a file.

HAProxy does not start if any of its certificates is bad. So everything that it would refuse is
refused here, with a message, while the person who uploads the certificate can read it.
"""

import ssl
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import pairwise
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import NameOID
from pydantic import SecretStr

from jobs.errors import ConfigurationError, Mistake
from jobs.rules.domain_names import is_covered, is_plain

# HAProxy's runtime API accepts at most 32 KiB in one command.
LONGEST_BUNDLE = 24 * 1024
SHORTEST_RSA_BITS = 2048
CURVES = (ec.SECP256R1, ec.SECP384R1, ec.SECP521R1)
WEAK_HASHES = (hashes.MD5, hashes.SHA1)
# A certificate should be renewed when a third of its lifetime is left. For one of a year, which is
# renewed by hand, a month is enough.
RENEWAL_SHARE = 3
MOST_WARNING = timedelta(days=30)
DEFAULT_NAME = "nobody.invalid"
# The field names of the two parts in the input.
CERTIFICATE, KEY = "certificate", "key"

PrivateKey = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey


@dataclass(frozen=True)
class Bundle:
    """A checked certificate with its key."""

    pem: SecretStr  # the key, the certificate, then the intermediate certificates
    not_after: datetime
    not_before: datetime | None = None


def read_bundle(domain: str, *, certificate: bytes, key: bytes, at: datetime) -> Bundle:
    """Check a certificate and its key for a domain.

    Args:
        domain: the domain to serve it for, in the form of `jobs.rules.domain_names`.
        certificate: PEM; the domain's own certificate first, then the intermediate ones.
        key: PEM, not encrypted.
        at: the moment at which the certificate must be valid.

    Raises:
        ConfigurationError: lists everything that is wrong with the pair.
    """
    chain, private = _read_chain(certificate), _read_key(key)
    mistakes = [
        *_key_mistakes(chain[0], private),
        *_name_mistakes(chain[0], domain),
        *_date_mistakes(chain[0], at),
        *_chain_mistakes(chain),
    ]
    pem = _join(private, chain)
    if len(pem) > LONGEST_BUNDLE:
        most = f"{LONGEST_BUNDLE // 1024} KiB is the most"
        mistakes.append(Mistake(CERTIFICATE, f"is too long; {most}"))
    if mistakes:
        raise ConfigurationError(*mistakes)
    return Bundle(SecretStr(pem), chain[0].not_valid_after_utc, chain[0].not_valid_before_utc)


def expiry_problem(not_after: datetime, at: datetime, *, not_before: datetime | None = None) -> str:
    """Say that a certificate has expired or soon will; return "" otherwise.

    Soon means that less than a third of its lifetime is left, and at most 30 days.

    Args:
        not_before: the begin of its lifetime; None: unknown, and 30 days count.
    """
    left = not_after - at
    if left < timedelta(0):
        return f"expired on {not_after:%Y-%m-%d}"
    soon = MOST_WARNING
    if not_before is not None:
        soon = min(soon, (not_after - not_before) / RENEWAL_SHARE)
    return f"expires on {not_after:%Y-%m-%d}" if left < soon else ""


def is_loadable(file: Path) -> bool:
    """Whether OpenSSL, with this machine's configuration, loads a file of certificate and key."""
    try:
        ssl.create_default_context(ssl.Purpose.CLIENT_AUTH).load_cert_chain(file)
    except (ssl.SSLError, OSError):
        return False
    return True


def default_bundle(at: datetime) -> SecretStr:
    """Make a placeholder certificate: HAProxy needs one at start, and never serves it."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, DEFAULT_NAME)])
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(at)
        .not_valid_after(at + timedelta(days=3650))
        .sign(key, hashes.SHA256())
    )
    return SecretStr(_join(key, [made]))


def _read_chain(pem: bytes) -> list[x509.Certificate]:
    try:
        chain = x509.load_pem_x509_certificates(pem)
        for each in chain:
            _read_whole(each)
    except (ValueError, UnsupportedAlgorithm):
        told = "holds no certificate in PEM, the text that begins with -----BEGIN CERTIFICATE-----"
        raise ConfigurationError(Mistake(CERTIFICATE, told)) from None
    return chain


def _read_whole(certificate: x509.Certificate) -> None:
    """Parse the parts that the checks below use: the library parses each one lazily."""
    certificate.public_key()
    _ = (certificate.issuer, certificate.subject, certificate.signature_hash_algorithm)
    _ = (certificate.not_valid_before_utc, certificate.not_valid_after_utc)


def _read_key(pem: bytes) -> PrivateKey:
    try:
        key = serialization.load_pem_private_key(pem, password=None)
    except TypeError:
        told = "is locked by a passphrase; `openssl pkey -in KEY -out OPEN_KEY` takes it away"
        raise ConfigurationError(Mistake(KEY, told)) from None
    except (ValueError, UnsupportedAlgorithm):
        told = "holds no private key in PEM, the text that begins with -----BEGIN PRIVATE KEY-----"
        raise ConfigurationError(Mistake(KEY, told)) from None
    if isinstance(key, rsa.RSAPrivateKey) and key.key_size >= SHORTEST_RSA_BITS:
        return key
    if isinstance(key, ec.EllipticCurvePrivateKey) and isinstance(key.curve, CURVES):
        return key
    told = (
        f"is of a kind that browsers refuse; make one with RSA of {SHORTEST_RSA_BITS} bits "
        "or more, or with ECDSA on P-256"
    )
    raise ConfigurationError(Mistake(KEY, told))


def _key_mistakes(leaf: x509.Certificate, key: PrivateKey) -> list[Mistake]:
    if leaf.public_key() == key.public_key():
        return []
    told = "does not belong to the certificate, or that is not the first one in its file"
    return [Mistake(KEY, told)]


def _name_mistakes(leaf: x509.Certificate, domain: str) -> list[Mistake]:
    names = _names(leaf)
    if domain in names or (not domain.startswith("*.") and is_covered(domain, names)):
        return []
    told = ", ".join(sorted(names)[:5]) or "no domain"
    return [Mistake(CERTIFICATE, f"does not name {domain}; it names {told}")]


def _names(leaf: x509.Certificate) -> set[str]:
    """Give the subject alternative names; browsers ignore the subject's common name."""
    try:
        found = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName)
    except (x509.ExtensionNotFound, ValueError):
        return set()
    names = (name.lower() for name in found.value.get_values_for_type(x509.DNSName))
    return {name for name in names if is_plain(name)}


def _date_mistakes(leaf: x509.Certificate, at: datetime) -> list[Mistake]:
    if leaf.not_valid_after_utc <= at:
        return [Mistake(CERTIFICATE, expiry_problem(leaf.not_valid_after_utc, at))]
    if leaf.not_valid_before_utc > at:
        begins = f"{leaf.not_valid_before_utc:%Y-%m-%d %H:%M} UTC"
        return [Mistake(CERTIFICATE, f"is valid only from {begins}")]
    return []


def _chain_mistakes(chain: Sequence[x509.Certificate]) -> list[Mistake]:
    for lower, upper in pairwise(chain):
        try:
            lower.verify_directly_issued_by(upper)
        except (ValueError, TypeError, InvalidSignature):
            told = "each one in the file must be signed by the one that follows"
            return [Mistake(CERTIFICATE, told)]
    # The hash of a self-signed root does not matter: nobody verifies that signature.
    signed = [each for each in chain if each.issuer != each.subject]
    if any(isinstance(each.signature_hash_algorithm, WEAK_HASHES) for each in signed):
        told = "is signed with a hash that browsers refuse; have it made anew"
        return [Mistake(CERTIFICATE, told)]
    return []


def _join(key: PrivateKey, chain: Sequence[x509.Certificate]) -> str:
    """Write key and chain for HAProxy's runtime API: plain PEM without empty lines."""
    kept = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    parts = [kept, *(each.public_bytes(serialization.Encoding.PEM) for each in chain)]
    return "".join(part.decode() for part in parts)
