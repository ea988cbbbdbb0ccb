"""
Errors of the network in a few words, on one line, for the log and for people.

Must never lose what the system said.
"""

from OpenSSL.SSL import Error as TlsError
from service_identity import VerificationError
from twisted.internet.defer import TimeoutError as NoAnswerError
from twisted.internet.error import ConnectError, ConnectionClosed, DNSLookupError

from etcd_twisted.tls import tls_reason

FAILURES = (ConnectError, ConnectionClosed, DNSLookupError, NoAnswerError, TlsError, OSError)
"""What happens on a network."""


def reason_of(error: BaseException | None) -> str:
    """What an error says, without a full stop."""
    if isinstance(error, (TlsError, VerificationError)):
        return f"TLS: {tls_reason(error)}"
    if isinstance(error, NoAnswerError):
        return "no answer in time"
    text = " ".join(str(error).split()).rstrip(".")
    return text or type(error).__name__
