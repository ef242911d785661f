"""An authority that issues certificates for tests, and what its certificates come with."""

import ssl
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import NameOID
from pydantic import SecretStr

AnyKey = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey
NOW = datetime.now(UTC)


@dataclass(frozen=True)
class Issued:
    """A certificate and its key, as the files somebody would have of them."""

    certificate: bytes
    key: bytes

    @property
    def bundle(self) -> SecretStr:
        return SecretStr((self.key + self.certificate).decode())

    @property
    def fingerprint(self) -> bytes:
        return x509.load_pem_x509_certificate(self.certificate).fingerprint(hashes.SHA256())


class Authority:
    """A certificate authority; `trust` is what its visitors use."""

    def __init__(self) -> None:
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = _named("Keystone tests")
        builder = _begun(self._name, self._name, self._key, NOW + timedelta(days=3650))
        builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=0), True)  # noqa: FBT003
        usage = x509.KeyUsage(
            digital_signature=True,
            key_cert_sign=True,
            crl_sign=True,
            content_commitment=False,
            key_encipherment=False,
            data_encipherment=False,
            key_agreement=False,
            encipher_only=False,
            decipher_only=False,
        )
        own = builder.add_extension(usage, True).sign(self._key, hashes.SHA256())  # noqa: FBT003
        self.certificate = _pem(own)

    @property
    def trust(self) -> ssl.SSLContext:
        return ssl.create_default_context(cadata=self.certificate.decode())

    def issue(
        self,
        *domains: str,
        days: float = 90,
        begins: datetime = NOW - timedelta(days=1),
        key: AnyKey | None = None,
    ) -> Issued:
        """Issue a certificate for these domains, valid for that many days from now on."""
        key = key or ec.generate_private_key(ec.SECP256R1())
        until = NOW + timedelta(days=days)
        begins = min(begins, until - timedelta(days=1))
        builder = _begun(self._name, _named("a test's"), key, until, begins)
        names = x509.SubjectAlternativeName([x509.DNSName(domain) for domain in domains])
        builder = builder.add_extension(names, False)  # noqa: FBT003
        return Issued(_pem(builder.sign(self._key, hashes.SHA256())), key_pem(key))


def key_pem(key: AnyKey, passphrase: bytes | None = None) -> bytes:
    """Write a key as PEM."""
    lock: serialization.KeySerializationEncryption = serialization.NoEncryption()
    if passphrase:
        lock = serialization.BestAvailableEncryption(passphrase)
    return key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, lock)


def _named(name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])


def _begun(
    issuer: x509.Name,
    subject: x509.Name,
    key: AnyKey,
    until: datetime,
    begins: datetime = NOW - timedelta(days=1),
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .issuer_name(issuer)
        .subject_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(begins)
        .not_valid_after(until)
    )


def _pem(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.PEM)
