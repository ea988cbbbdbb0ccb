"""
Why a connection with TLS fails, in words for people: which certificate was not accepted, by whom, and the remedy.

OpenSSL knows the reason only while it verifies, so it is kept until the connection ends. This module must never decide
whether a certificate is accepted.
"""

from datetime import datetime
from typing import Any
from weakref import WeakKeyDictionary

from cryptography import x509
from OpenSSL import SSL
from OpenSSL.crypto import X509
from service_identity import VerificationError

_MOST_NAMED_HOSTS = 8
"""How many hosts of a certificate an error names."""


def tls_reason(error: BaseException, transport: object = None) -> str:
    """
    Returns what went wrong, on one line: which certificate was not accepted, why, and the remedy, where it is known.

    @param transport: the connection on which it went wrong.
    """
    connection = getattr(transport, "getHandle", lambda: None)()
    if not isinstance(connection, SSL.Connection):
        connection = None
    if isinstance(error, VerificationError):
        return _other_host(None if connection is None else connection.get_peer_certificate(as_cryptography=True))
    refusal = None if connection is None else _refusals.get(connection)
    if refusal is not None:
        return refusal
    # OpenSSL gives a list of errors, each with the part of the library and the function.
    errors: Any = error.args[-1] if error.args else ""
    reasons = [str(reason) for *_, reason in errors] if isinstance(errors, list) else [str(errors)]
    for reason in reasons:
        if "peer did not return a certificate" in reason:
            return "the other side shows no certificate: give it one of an authority that is trusted here"
        if reason in _NO_TLS:
            return f"the other side does not use TLS: give certificates to both, or to neither ({reason})"
        _, _, alert = reason.partition("alert ")
        own = None if connection is None else connection.get_certificate(as_cryptography=True)
        if alert == "handshake failure" and connection is not None and own is None:
            alert = "certificate required"  # versions of TLS before 1.3 have no alert of this name
        if alert in _ALERTS:
            shown = "no certificate" if own is None else f"the certificate of {_subject(own)}"
            return f"the other side was shown {shown}, and {_ALERTS[alert]}"
    return " ".join(", ".join(reasons).split()) or type(error).__name__


_ALERTS = {
    "certificate expired": "says that it has expired: have a new one made, and compare the clocks of both",
    "unknown ca": "does not know its authority: give both certificates of authorities that the other trusts",
    "unsupported certificate": "says that it is not for this use: have one made for servers and clients",
    "bad certificate": "says that it is not valid: see the other side's log",
    "internal error": "ended the handshake, as it does over one for another host: see the other side's log",
    "certificate unknown": "does not accept it: see the other side's log",
    "certificate required": "requires one: give this side one of an authority that the other trusts",
}
"""What the other side thinks of this side's certificate, by the names of TLS alerts."""

_NO_TLS = ("wrong version number", "packet length too long", "http request", "https proxy request")
"""The reasons that versions of OpenSSL give when the other side does not begin with TLS."""

_refusals: "WeakKeyDictionary[SSL.Connection, str]" = WeakKeyDictionary()
"""Why the other side's certificate was refused, for connections that are about to end for that reason."""

_EXPIRED = 10  # this and the next are OpenSSL's X509_V_ERR_...
_NOT_YET_VALID = 9
_WRONG_USAGE = 26
_NO_AUTHORITY = (2, 18, 19, 20, 21)


def record_refusal(connection: SSL.Connection, certificate: X509, code: int, _depth: int, ok: int) -> bool:
    """Keep the reason why OpenSSL refuses a certificate, which is known only here."""
    if not ok:
        _refusals.setdefault(connection, _why_not(certificate.to_cryptography(), code))
    return bool(ok)


def record_other_host(connection: SSL.Connection, certificate: x509.Certificate) -> None:
    """Keep that a certificate is refused because it is for another host."""
    _refusals.setdefault(connection, _other_host(certificate))


def _why_not(certificate: x509.Certificate, code: int) -> str:
    if code == _EXPIRED:
        end = shown_time(certificate.not_valid_after_utc)
        why = f"expired at {end}: have a new one made, and compare the clocks of both"
    elif code == _NOT_YET_VALID:
        why = f"is not valid before {shown_time(certificate.not_valid_before_utc)}: compare the clocks of both"
    elif code == _WRONG_USAGE:
        why = "is not for this use (extended key usage): have one made with serverAuth and clientAuth"
    elif code in _NO_AUTHORITY:
        issuer = _printable(certificate.issuer.rfc4514_string())
        why = f"is from {issuer}, which is not an authority that is trusted here: have one made by one that is"
    else:
        why = f"is not accepted (OpenSSL's verification error {code}): have another one made"
    return f"the other side's certificate of {_subject(certificate)} {why}"


def _other_host(certificate: x509.Certificate | None) -> str:
    if certificate is None:
        return "the certificate is for another host"
    remedy = "have one made for the host of its address, or correct the address"
    return f"the certificate of {_subject(certificate)} is for another host, {shown_hosts(certificate)}: {remedy}"


def _subject(certificate: x509.Certificate) -> str:
    return _printable(certificate.subject.rfc4514_string()) or "nobody"


def _printable(text: str) -> str:
    return text if text.isprintable() else repr(text)


def shown_time(moment: datetime) -> str:
    """Returns a time as people read it."""
    return moment.strftime("%Y-%m-%d %H:%M:%S UTC")


def shown_hosts(certificate: x509.Certificate) -> str:
    """Returns the hosts that a certificate is for. As for clients, its common name does not count."""
    try:
        alternatives = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except (x509.ExtensionNotFound, ValueError):
        return "no host at all"
    hosts = [*alternatives.get_values_for_type(x509.DNSName), *alternatives.get_values_for_type(x509.IPAddress)]
    shown = [str(each) if str(each).isprintable() else repr(each) for each in hosts[:_MOST_NAMED_HOSTS]]
    more = [f"{len(hosts) - _MOST_NAMED_HOSTS} more"] if len(hosts) > _MOST_NAMED_HOSTS else []
    return ", ".join([*shown, *more]) or "no host at all"
