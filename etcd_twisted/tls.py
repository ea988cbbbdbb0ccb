"""
The files of certificates and keys: with what a port speaks TLS, and how this machine speaks it with others.

Must never go on with a file that can't be used: all are read, and tried, before anything is opened or changed.
"""

from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import Any

import attrs
from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import load_pem_private_key
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

from etcd_twisted.config import Config
from etcd_twisted.errors import ConfigError

ClientTls = Callable[[str], IOpenSSLClientConnectionCreator]
"""How to speak TLS with a host of a given name or address. Raises L{ValueError} for one that none can be for."""

_MOST_HOSTS = 64
"""How many hosts are spoken with again and again."""

_MOST_NAMED = 8
"""How many hosts of a certificate an error names."""


def client_port_tls(config: Config) -> CertificateOptions | None:
    """
    How the client port speaks TLS; C{None} if it does not.

    @raise ConfigError: a file can't be used, or the certificate is not for the host that clients are told of; one
        line that names it as it was given, and the remedy.
    """
    files = _read(config, "")
    if files is None:
        return None
    server = files.server(config)
    files.check_host(config, "addr")
    return server


def peer_port_tls(config: Config) -> CertificateOptions | None:
    """
    How the peer port speaks TLS, likewise.

    @raise ConfigError: see L{client_port_tls}.
    """
    files = _read(config, "peer-")
    return None if files is None else files.server(config)


def tls_for_peers(config: Config) -> ClientTls | None:
    """
    How this machine speaks TLS with others, whose certificates have to name their hosts, and to be from an authority
    that is configured, or else trusted by the system. It shows its own. C{None} if it has none.

    @raise ConfigError: see L{client_port_tls}; or others could not do the same with this machine.
    """
    files = _read(config, "peer-")
    if files is None:
        return None
    files.server(config)
    speak = lru_cache(_MOST_HOSTS)(files.client)
    try:
        speak(config.peer_addr.host)
    except ValueError as error:
        remedy = "give a name of letters, digits and '-', or an IP address"
        raise ConfigError(
            f"{config.given('peer-addr')}: no certificate can be for a host of that name; {remedy}"
        ) from error
    files.check_host(config, "peer-addr")
    return speak


def tls_reason(error: BaseException) -> str:
    """
    What went wrong, on one line.

    OpenSSL has a list of it, each with the part of the library and the function.
    """
    if isinstance(error, VerificationError):
        return "the certificate is for another host"
    said: Any = error.args[-1] if error.args else ""
    text = ", ".join(str(reason) for *_, reason in said) if isinstance(said, list) else str(said)
    return " ".join(text.split()) or type(error).__name__


@attrs.frozen
class _Files:
    """
    What is in the files of a port.

    @ivar port: how the port's options begin.
    @ivar chain: the certificates between one's own and an authority that others have.
    @ivar authorities: whom to trust; none where no file was given.
    """

    port: str
    certificate: x509.Certificate
    chain: list[x509.Certificate]
    key: Any
    authorities: list[x509.Certificate]

    def server(self, config: Config) -> CertificateOptions:
        """
        How the port speaks TLS.

        @raise ConfigError: OpenSSL does not take the certificate.
        """
        trusted = {"trustRoot": _trust(self.authorities)} if self.authorities else {}
        options = CertificateOptions(**self._own(), **trusted)
        try:
            options.getContext()  # made now, and kept
        except SSL.Error as error:
            given = config.given(f"{self.port}cert-file")
            raise ConfigError(f"{given}: can't be used: {tls_reason(error)}; have another one made") from error
        return options

    def check_host(self, config: Config, option: str) -> None:
        """
        See to it that who connects to this machine where it says that it is will take its certificate.

        @param option: what the address was given as.
        @raise ConfigError: it is for other hosts.
        """
        host = getattr(config, _field(option)).host.removesuffix(".")
        try:
            if isIPAddress(host) or isIPv6Address(host):
                verify_certificate_ip_address(self.certificate, host)
            else:
                verify_certificate_hostname(self.certificate, host)
        except (VerificationError, CertificateError, ValueError) as error:
            certificate = config.given(f"{self.port}cert-file")
            raise ConfigError(
                f"{certificate} is not for the host {host} of {config.given(option)}: it is for"
                f" {_named(self.certificate)}; have one made for {host}, or give an address that it is for"
            ) from error

    def client(self, host: str) -> IOpenSSLClientConnectionCreator:
        """
        How to speak TLS with a host.

        @raise ValueError: no certificate can name that host.
        """
        trusted = _trust(self.authorities) if self.authorities else platformTrust()
        return optionsForClientTLS(host.removesuffix("."), trusted, extraCertificateOptions=self._own())

    def _own(self) -> dict[str, Any]:
        return {
            "certificate": X509.from_cryptography(self.certificate),
            "privateKey": PKey.from_cryptography_key(self.key),
            "extraCertChain": [X509.from_cryptography(each) for each in self.chain],
            "raiseMinimumTo": TLSVersion.TLSv1_2,
        }


def _named(certificate: x509.Certificate) -> str:
    """The hosts that a certificate is for, as clients read it: its common name does not count."""
    try:
        alternatives = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except (x509.ExtensionNotFound, ValueError):
        return "no host at all"
    hosts = [*alternatives.get_values_for_type(x509.DNSName), *alternatives.get_values_for_type(x509.IPAddress)]
    shown = [str(each) if str(each).isprintable() else repr(each) for each in hosts[:_MOST_NAMED]]
    more = [f"{len(hosts) - _MOST_NAMED} more"] if len(hosts) > _MOST_NAMED else []
    return ", ".join([*shown, *more]) or "no host at all"


def _trust(authorities: list[x509.Certificate]) -> Any:
    return trustRootFromCertificates([Certificate(X509.from_cryptography(each)) for each in authorities])


def _read(config: Config, port: str) -> _Files | None:
    """
    Read the files of a port.

    @param port: how its options begin.
    @raise ConfigError: one can't be used, or they don't belong together.
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


def _key(config: Config, option: str, wanted: str) -> Any:
    content = _content(config, option, wanted)
    given = config.given(option)
    try:
        return load_pem_private_key(content, None)
    except TypeError as error:
        text = "has a passphrase, which nobody is there to type; name a file without one"
        raise ConfigError(f"{given}: {text}") from error
    except (ValueError, UnsupportedAlgorithm) as error:
        raise ConfigError(f"{given}: has no private key in PEM in it; name a file with {wanted}") from error


def _content(config: Config, option: str, wanted: str) -> bytes:
    path: Path = getattr(config, _field(option))
    try:
        return path.read_bytes()
    except OSError as error:
        raise ConfigError(
            f"{config.given(option)}: can't be read: {error.strerror}; name a file with {wanted}"
        ) from error


def _field(option: str) -> str:
    return option.replace("-", "_")
