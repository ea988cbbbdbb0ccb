"""
Tests of the short reasons that network errors are given.
"""

from OpenSSL.SSL import Error as TlsError
from service_identity import VerificationError
from twisted.internet import main
from twisted.internet.defer import TimeoutError as NoAnswerError
from twisted.internet.error import ConnectionDone, ConnectionLost, DNSLookupError
from twisted.internet.error import ConnectionRefusedError as RefusedByHostError
from twisted.trial.unittest import SynchronousTestCase

from etcd_twisted.net.reasons import reason_of


class ReasonOfTests(SynchronousTestCase):
    def test_each_error_has_a_reason(self) -> None:
        """Each reason is one line without a period at its end."""
        for error, text in (
            (ConnectionDone(), "it closed the connection, so it may have been stopped"),
            (main.CONNECTION_DONE, "it closed the connection, so it may have been stopped"),
            (main.CONNECTION_LOST, "the connection was lost, so it may have been stopped or can't be reached"),
            (ConnectionLost("idle"), "Connection to the other side was lost in a non-clean fashion: idle"),
            (RefusedByHostError(111, "refused"), "the connection was refused, so it may not be running"),
            (RefusedByHostError(1, "by a rule"), "Connection was refused by other side: 1: by a rule"),
            (DNSLookupError("no such\nhost."), "DNS lookup failed: no such host"),
            (NoAnswerError(2.0, "Deferred"), "no answer in time"),
            (TlsError([("a", "b", "unknown ca"), ("a", "b", "bad")]), "TLS: unknown ca, bad"),
            (TlsError(-1, "Unexpected EOF"), "TLS: Unexpected EOF"),
            (VerificationError([]), "TLS: the certificate is for another host"),
            (ValueError(), "ValueError"),
        ):
            self.assertEqual(reason_of(error), text)
