"""
Errors of the network in a few words, on one line, for the log and for people.

Must never lose what the system said.
"""

from errno import ECONNREFUSED

from OpenSSL.SSL import Error as TlsError
from service_identity import VerificationError
from twisted.internet.defer import TimeoutError as NoAnswerError
from twisted.internet.error import ConnectError, ConnectionClosed, ConnectionDone, ConnectionLost, DNSLookupError
from twisted.internet.error import ConnectionRefusedError as RefusedError
from twisted.internet.main import CONNECTION_DONE, CONNECTION_LOST

from etcd_twisted.net.tls import tls_reason

FAILURES = (ConnectError, ConnectionClosed, DNSLookupError, NoAnswerError, TlsError, OSError)
"""What happens on a network."""


_ENDS: dict[type[BaseException], str] = {
    ConnectionDone: "it closed the connection, so it may have been stopped",
    ConnectionLost: "the connection was lost, so it may have been stopped or can't be reached",
}
"""What it means that a connection ended, where the system says nothing more."""

_NOTHING = ((), CONNECTION_DONE.args, CONNECTION_LOST.args)
"""The arguments of errors that say no more than their type does."""

_REFUSED = "the connection was refused, so it may not be running"


def reason_of(error: BaseException | None, transport: object = None) -> str:
    """
    What an error says, without a full stop.

    @param transport: the connection that it ended, if it did.
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
