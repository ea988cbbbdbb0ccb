"""
Describes errors of the network in a few words, on one line, for the log and for people.

This module must never lose the system's own description.
"""

from errno import ECONNREFUSED

from OpenSSL.SSL import Error as TlsError
from service_identity import VerificationError
from twisted.internet.defer import TimeoutError as NoAnswerError
from twisted.internet.error import ConnectError, ConnectionClosed, ConnectionDone, ConnectionLost, DNSLookupError
from twisted.internet.error import ConnectionRefusedError as RefusedError
from twisted.internet.main import CONNECTION_DONE, CONNECTION_LOST

from etcd_twisted.net.tls_failures import tls_reason

NETWORK_ERRORS = (ConnectError, ConnectionClosed, DNSLookupError, NoAnswerError, TlsError, OSError)
"""The errors that are the network's, or another machine's."""


_ENDS: dict[type[BaseException], str] = {
    ConnectionDone: "it closed the connection, so it may have been stopped",
    ConnectionLost: "the connection was lost, so it may have been stopped or can't be reached",
}
"""What the end of a connection means, where the system says no more."""

_NOTHING = ((), CONNECTION_DONE.args, CONNECTION_LOST.args)
"""The arguments of errors that say no more than their type does."""

_REFUSED = "the connection was refused, so it may not be running"


def reason_of(error: BaseException | None, transport: object = None) -> str:
    """
    Returns what an error says, without a period at its end.

    @param transport: the connection that the error ended, if it did.
    """
    if isinstance(error, (TlsError, VerificationError)):
        return f"TLS: {tls_reason(error, transport)}"
    if isinstance(error, NoAnswerError):
        return "no answer in time"
    if isinstance(error, RefusedError) and error.osError in (None, ECONNREFUSED):
        return _REFUSED
    if error is not None and type(error) in _ENDS and error.args in _NOTHING:
        return _ENDS[type(error)]
    text = " ".join(str(error).split()).rstrip(".")
    return text or type(error).__name__
