"""
Certificates for tests, and the authorities that issue them.
"""

import ipaddress
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

_DAY = timedelta(days=1)

BOTH = (ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH)
SERVERS = (ExtendedKeyUsageOID.SERVER_AUTH,)
CLIENTS = (ExtendedKeyUsageOID.CLIENT_AUTH,)
"""The purposes that a certificate may have."""


class Authority:
    """
    Issues certificates to servers and clients alike.

    @ivar path: its own certificate.
    """

    def __init__(self, directory: Path | str, name: str = "authority", issuer: "Authority | None" = None) -> None:
        """
        @param directory: where all its files go; made if it is not there.
        @param issuer: the authority that issues its own certificate; without one it signs that itself.
        """
        self.directory = Path(directory)
        self.directory.mkdir(parents=True, exist_ok=True)
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._issuer = issuer
        usage = x509.KeyUsage(
            digital_signature=True,
            content_commitment=False,
            key_encipherment=False,
            data_encipherment=False,
            key_agreement=False,
            key_cert_sign=True,
            crl_sign=True,
            encipher_only=False,
            decipher_only=False,
        )
        self._name = _name(name)
        builder = self._builder(name, self._key.public_key(), expired=False)
        builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        builder = builder.add_extension(usage, critical=True)
        self._certificate = (issuer or self)._sign(builder)
        self.path = self._write(f"{name}.pem", _pem(self._certificate))

    def certificate(
        self,
        name: str,
        hosts: Sequence[str] = ("127.0.0.1",),
        expired: bool = False,
        weak: bool = False,
        usages: Sequence[x509.ObjectIdentifier] = BOTH,
    ) -> tuple[Path, Path]:
        """
        Writes a new certificate, followed by its chain except for the last authority, and its key.

        @param hosts: the host names and IP addresses that it is for.
        @param expired: whether it has expired.
        @param weak: whether its key is one that nobody should trust any more.
        @param usages: the purposes that it has.
        """
        key = rsa.generate_private_key(65537, 1024) if weak else ec.generate_private_key(ec.SECP256R1())
        usage = x509.ExtendedKeyUsage(usages)
        builder = self._builder(name, key.public_key(), expired)
        builder = builder.add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        builder = builder.add_extension(usage, critical=False)
        if hosts:
            builder = builder.add_extension(x509.SubjectAlternativeName([_host(each) for each in hosts]), False)
        chain = b"".join(_pem(each) for each in (self._sign(builder), *self._chain()))
        private = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        return self._write(f"{name}.pem", chain), self._write(f"{name}.key", private)

    def _builder(
        self, name: str, key: ec.EllipticCurvePublicKey | rsa.RSAPublicKey, expired: bool
    ) -> x509.CertificateBuilder:
        now = datetime.now(UTC)
        return (
            x509.CertificateBuilder()
            .subject_name(_name(name))
            .public_key(key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - 3 * _DAY)
            .not_valid_after(now - _DAY if expired else now + _DAY)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
        )

    def _sign(self, builder: x509.CertificateBuilder) -> x509.Certificate:
        identifier = x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key())
        builder = builder.issuer_name(self._name).add_extension(identifier, critical=False)
        return builder.sign(self._key, hashes.SHA256())

    def _chain(self) -> list[x509.Certificate]:
        """Returns its own certificate and those above it, except for the last, which everybody has."""
        return [] if self._issuer is None else [self._certificate, *self._issuer._chain()]

    def _write(self, name: str, content: bytes) -> Path:
        path = self.directory / name
        path.write_bytes(content)
        return path


def _name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


def _host(text: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(text))
    except ValueError:
        return x509.DNSName(text)


def _pem(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.PEM)
