"""
The files of certificates and keys: how a port uses TLS, and how this machine uses it with others.

This module must never go on with a file that can't be used: all files are read and tried before anything is opened or
changed.
"""

from collections.abc import Callable
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path
from typing import Any

import attrs
from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from OpenSSL import SSL
from OpenSSL.crypto import X509, PKey
from service_identity import CertificateError, VerificationError
from service_identity.cryptography import verify_certificate_hostname, verify_certificate_ip_address
from twisted.internet.abstract import isIPAddress, isIPv6Address
from twisted.internet.interfaces import IOpenSSLClientConnectionCreator
from twisted.internet.ssl import (
    Certificate,
    CertificateOptions,
    TLSVersion,
    optionsForClientTLS,
    platformTrust,
    trustRootFromCertificates,
)
from zope.interface import implementer

from etcd_twisted.config import Config
from etcd_twisted.errors import ConfigError
from etcd_twisted.net.tls_failures import record_other_host, record_refusal, shown_hosts, shown_time, tls_reason

ClientTls = Callable[[str], IOpenSSLClientConnectionCreator]
"""
Returns how to use TLS with a host, by its name or address. Raises L{ValueError} if no certificate can be for it.
"""

_MOST_REMEMBERED_HOSTS = 64
"""For how many hosts it is remembered how to use TLS with them."""


def client_port_tls(config: Config) -> CertificateOptions | None:
    """
    Returns how the client port uses TLS, or None if it does not.

    @raise ConfigError: a file can't be used, or the certificate is not for the advertised host; one line with the
        setting and the remedy.
    """
    files = _read(config, "")
    if files is None:
        return None
    server = files.server(config)
    files.check_host(config, "addr")
    return server


def with_contents(config: Config) -> Config:
    """
    Returns the configuration with what is in the files that the client port needs: whoever gets it, now or later, uses
    the same certificates.

    @raise ConfigError: a file can't be read.
    """
    wanted = {
        "cert-file": "the certificate",
        "key-file": "the certificate's key",
        "ca-file": "the authority's certificate",
        "peer-ca-file": "the certificates of authorities",
    }
    given = {each: text for each, text in wanted.items() if getattr(config, _field(each)) is not None}
    return attrs.evolve(config, contents={each: _content(config, each, text) for each, text in given.items()})


def peer_port_tls(config: Config) -> CertificateOptions | None:
    """
    Returns how the peer port uses TLS, or None if it does not.

    @raise ConfigError: see L{client_port_tls}.
    """
    files = _read(config, "peer-")
    return None if files is None else files.server(config)


def tls_for_peers(config: Config) -> ClientTls | None:
    """
    Returns how this machine uses TLS with others, or None if it has no certificate. The certificates of others have to
    name their hosts, and have to be from an authority that is configured, or else trusted by the system.

    @raise ConfigError: see L{client_port_tls}; or others could not do the same with this machine.
    """
    files = _read(config, "peer-")
    if files is None:
        return None
    files.server(config)
    tls_for = lru_cache(_MOST_REMEMBERED_HOSTS)(files.client)
    try:
        tls_for(config.peer_addr.host)
    except ValueError as error:
        remedy = "give a name of letters, digits and '-', or an IP address"
        raise ConfigError(
            f"{config.given('peer-addr')}: no certificate can be for a host of that name; {remedy}"
        ) from error
    files.check_host(config, "peer-addr")
    return tls_for


def tls_for_client_ports(config: Config) -> ClientTls:
    """
    Returns how to use TLS with the client ports of other machines: they are trusted if the authority of the machines
    has issued their certificates or, without such an authority, one of the system's.

    @raise ConfigError: a file can't be used.
    """
    trusted = platformTrust()
    if config.peer_ca_file is not None:
        trusted = _trust(_certificates(config, "peer-ca-file", "the certificates of authorities"))
    return lambda host: optionsForClientTLS(host, trusted)


def check_peer_certificate(config: Config, now: datetime | None = None) -> None:
    """
    Check that other machines will accept this machine's certificate, as far as that can be known without them.

    @param now: the time; C{None} for the system's.
    @raise ConfigError: the certificate has expired or is not valid yet, or is not for a server, or not for a client
        where machines ask each other for certificates.
    """
    files = _read(config, "peer-")
    if files is None:
        return
    given, certificate = config.given("peer-cert-file"), files.certificate
    moment = datetime.now(UTC) if now is None else now
    remedy = "have a new one made, or set this computer's clock right"
    if moment > certificate.not_valid_after_utc:
        raise ConfigError(f"{given} expired at {shown_time(certificate.not_valid_after_utc)}; {remedy}")
    if moment < certificate.not_valid_before_utc:
        raise ConfigError(f"{given} is not valid before {shown_time(certificate.not_valid_before_utc)}; {remedy}")
    needed = [("server", ExtendedKeyUsageOID.SERVER_AUTH)]
    needed += [("client", ExtendedKeyUsageOID.CLIENT_AUTH)] if files.authorities else []
    usages = _usages(certificate)
    for role, usage in needed:
        if usages is not None and usage not in usages:
            missing = f"its extended key usage has no {role}Auth"
            remedy = "machines connect to each other, so have one made with serverAuth and clientAuth"
            raise ConfigError(f"{given} can't be used as a {role}'s: {missing}; {remedy}")


def _usages(certificate: x509.Certificate) -> x509.ExtendedKeyUsage | None:
    """Returns the uses that a certificate allows, or None if it allows any use."""
    try:
        return certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    except (x509.ExtensionNotFound, ValueError):
        return None


def common_name(transport: object) -> str | None:
    """
    Returns the common name of the certificate that the other side of a connection was required to show, or C{None} if
    none was required, or it has no such name, or several.

    @param transport: the connection, whose handshake is complete.
    """
    connection = getattr(transport, "getHandle", lambda: None)()
    if not isinstance(connection, SSL.Connection):
        return None
    if not connection.get_context().get_verify_mode() & SSL.VERIFY_FAIL_IF_NO_PEER_CERT:
        return None
    certificate = connection.get_peer_certificate(as_cryptography=True)
    names = () if certificate is None else certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    values = [each.value for each in names]
    return values[0] if len(values) == 1 and isinstance(values[0], str) and values[0] else None


@implementer(IOpenSSLClientConnectionCreator)
@attrs.frozen
class _ClientCreator:
    """
    Makes connections to a host for which L{tls_reason} knows why a certificate was refused.

    OpenSSL calls only one function that verifies certificates. Setting it may replace Twisted's, which checks the name
    of the host, so that is done here too: by the same library, and any error is a refusal.
    """

    creator: IOpenSSLClientConnectionCreator
    host: str

    def clientConnectionForTLS(self, protocol: Any) -> SSL.Connection:
        connection = self.creator.clientConnectionForTLS(protocol)
        connection.set_verify(SSL.VERIFY_PEER | SSL.VERIFY_FAIL_IF_NO_PEER_CERT, self._check)
        return connection

    def _check(self, connection: SSL.Connection, certificate: X509, code: int, depth: int, ok: int) -> bool:
        if not record_refusal(connection, certificate, code, depth, ok):
            return False
        shown = certificate.to_cryptography()
        if depth == 0 and not _is_for(shown, self.host):
            record_other_host(connection, shown)
            return False
        return True


def _is_for(certificate: x509.Certificate, host: str) -> bool:
    """Returns whether a certificate is for a host."""
    try:
        if isIPAddress(host) or isIPv6Address(host):
            verify_certificate_ip_address(certificate, host)
        else:
            verify_certificate_hostname(certificate, host)
    except (VerificationError, CertificateError, ValueError):
        return False
    return True


@attrs.frozen
class _Files:
    """
    The contents of the files of a port.

    @ivar port: the prefix of the port's options.
    @ivar chain: the certificates between this machine's own and an authority that others know.
    @ivar authorities: the trusted authorities; empty if no file was given.
    """

    port: str
    certificate: x509.Certificate
    chain: list[x509.Certificate]
    key: Any
    authorities: list[x509.Certificate]

    def server(self, config: Config) -> CertificateOptions:
        """
        Returns how the port uses TLS.

        @raise ConfigError: OpenSSL does not accept the certificate.
        """
        trusted = {"trustRoot": _trust(self.authorities)} if self.authorities else {}
        options = CertificateOptions(**self._own(), **trusted)
        try:
            context = options.getContext()  # made now, and kept
        except SSL.Error as error:
            given = config.given(f"{self.port}cert-file")
            raise ConfigError(f"{given}: can't be used: {tls_reason(error)}; have another one made") from error
        context.set_verify(context.get_verify_mode(), record_refusal)
        return options

    def check_host(self, config: Config, option: str) -> None:
        """
        Check that the certificate is for the host of an advertised address.

        @param option: the option with the address.
        @raise ConfigError: the certificate is for other hosts.
        """
        host = getattr(config, _field(option)).host.removesuffix(".")
        if not _is_for(self.certificate, host):
            certificate = config.given(f"{self.port}cert-file")
            raise ConfigError(
                f"{certificate} is not for the host {host} of {config.given(option)}: it is for"
                f" {shown_hosts(self.certificate)}; have one made for {host}, or give an address that it is for"
            )

    def client(self, host: str) -> IOpenSSLClientConnectionCreator:
        """
        Returns how to use TLS with a host.

        @raise ValueError: no certificate can name that host.
        """
        trusted = _trust(self.authorities) if self.authorities else platformTrust()
        name = host.removesuffix(".")
        return _ClientCreator(optionsForClientTLS(name, trusted, extraCertificateOptions=self._own()), name)

    def _own(self) -> dict[str, Any]:
        return {
            "certificate": X509.from_cryptography(self.certificate),
            "privateKey": PKey.from_cryptography_key(self.key),
            "extraCertChain": [X509.from_cryptography(each) for each in self.chain],
            "raiseMinimumTo": TLSVersion.TLSv1_2,
        }


def _trust(authorities: list[x509.Certificate]) -> Any:
    return trustRootFromCertificates([Certificate(X509.from_cryptography(each)) for each in authorities])


def _read(config: Config, port: str) -> _Files | None:
    """
    Read the files of a port. Returns None if it has no certificate.

    @param port: the prefix of its options.
    @raise ConfigError: a file can't be used, or the files don't belong together.
    """
    certificate, key, authority = (f"{port}{kind}-file" for kind in ("cert", "key", "ca"))
    if getattr(config, _field(certificate)) is None:
        return None
    own, *chain = _certificates(config, certificate, "the certificate")
    loaded = _key(config, key, "the certificate's key")
    if own.public_key() != loaded.public_key():
        given, other = config.given(key), config.given(certificate)
        raise ConfigError(f"{given} is not the key of {other}; name the one that belongs to it")
    trusted: list[x509.Certificate] = []
    if getattr(config, _field(authority)) is not None:
        trusted = _certificates(config, authority, "the authority's certificate")
    return _Files(port, own, chain, loaded, trusted)


def _certificates(config: Config, option: str, wanted: str) -> list[x509.Certificate]:
    content = _content(config, option, wanted)
    try:
        return x509.load_pem_x509_certificates(content)
    except ValueError as error:
        given = config.given(option)
        raise ConfigError(f"{given}: has no certificate in PEM in it; name a file with {wanted}") from error


def _key(config: Config, option: str, wanted: str) -> PrivateKeyTypes:
    content = _content(config, option, wanted)
    given = config.given(option)
    try:
        return load_pem_private_key(content, None)
    except TypeError as error:
        text = "has a passphrase, which nobody can type here; name a file without one"
        raise ConfigError(f"{given}: {text}") from error
    except (ValueError, UnsupportedAlgorithm) as error:
        raise ConfigError(f"{given}: has no private key in PEM in it; name a file with {wanted}") from error


def _content(config: Config, option: str, wanted: str) -> bytes:
    if option in config.contents:
        return config.contents[option]
    path: Path = getattr(config, _field(option))
    try:
        return path.read_bytes()
    except OSError as error:
        raise ConfigError(
            f"{config.given(option)}: can't be read: {error.strerror}; name a file with {wanted}"
        ) from error


def _field(option: str) -> str:
    return option.replace("-", "_")
