"""
Requests that are made without Twisted: what they take for an answer, and what they leave to a whole client.
"""

import base64
import socket
import threading
from collections.abc import Callable
from types import SimpleNamespace

from twisted.trial.unittest import SynchronousTestCase

from etcd_twisted.client import ConnectionFailed, KeyExists, OutcomeUnknown, keys
from etcd_twisted.client.answers import event_of, reading_of
from etcd_twisted.client.messages import Answer, Request
from etcd_twisted.ctl import direct
from etcd_twisted.ctl.direct import ask
from etcd_twisted.ctl.settings import Settings
from etcd_twisted.testing.ports import free_ports

READ = keys.read("/key", recursive=False, sort=False, consistent=False, quorum=False)
WRITE = keys.create("/key", "ä b", 60)

EVENT = b'{"action":"create","node":{"key":"/key","value":"x","modifiedIndex":3,"createdIndex":3}}'
ERROR = b'{"errorCode":%d,"message":"m","cause":"%s","index":7}'


def response(status: str, body: bytes = b"", *headers: str) -> bytes:
    """Returns an HTTP response."""
    lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", *headers, "", ""]
    return "\r\n".join(lines).encode() + body


class DirectTests(SynchronousTestCase):
    """
    One connection is answered, from another thread, as the request blocks.

    @ivar received: what came over it.
    """

    received = b""

    def serve(self, *answers: bytes) -> str:
        """Returns the URL of a server that takes a request and sends pieces, one after the other, or nothing."""
        listening = socket.create_server(("127.0.0.1", 0))
        self.addCleanup(listening.close)

        def answer() -> None:
            connection, _ = listening.accept()
            with connection:
                while b"\r\n\r\n" not in self.received or not self.is_whole():
                    piece = connection.recv(65536)
                    if not piece:
                        return
                    self.received += piece
                for each in answers:
                    connection.sendall(each)

        thread = threading.Thread(target=answer)
        thread.start()
        self.addCleanup(thread.join)
        return f"http://127.0.0.1:{listening.getsockname()[1]}"

    def is_whole(self) -> bool:
        """Returns whether the body has come too."""
        head, _, body = self.received.partition(b"\r\n\r\n")
        length = [line for line in head.split(b"\r\n") if line.lower().startswith(b"content-length:")]
        return not length or len(body) >= int(length[0].split(b":")[1])

    def answer_to(self, request: Request, *answers: bytes) -> Answer | None:
        """Returns what a request gives."""
        return ask(Settings((self.serve(*answers),)), request)

    def test_reads(self) -> None:
        """The answer has the indexes of its headers. A body may come in chunks, as etcd's large listings do."""
        chunks = response("200 OK", b"", "X-Etcd-Index: 5").replace(
            b"Content-Length: 0", b"Transfer-Encoding: chunked"
        )
        body = b"".join(b"%x\r\n%s\r\n" % (len(each), each) for each in (EVENT[:20], EVENT[20:])) + b"0\r\n\r\n"
        for answers in ([response("200 OK", EVENT, "X-Etcd-Index: 5")], [chunks, body]):
            self.received = b""
            answer = self.answer_to(READ, *answers)
            assert answer is not None
            reading = reading_of(answer)
            self.assertEqual((reading.value, reading.index.etcd_index), ("x", 5))
            self.assertTrue(self.received.startswith(b"GET /v2/keys/key HTTP/1.1\r\n"), self.received)
            self.assertNotIn(b"Authorization", self.received)

    def test_writes(self) -> None:
        answer = self.answer_to(WRITE, response("201 Created", EVENT))
        assert answer is not None
        self.assertEqual(event_of(answer).action, "create")
        self.assertTrue(self.received.startswith(b"PUT /v2/keys/key HTTP/1.1\r\n"), self.received)
        self.assertTrue(self.received.endswith(b"\r\n\r\nprevExist=false&value=%C3%A4+b&ttl=60"), self.received)

    def test_users(self) -> None:
        """Their passwords may have colons. A name that has one is for the client to refuse."""
        settings = Settings((self.serve(response("200 OK", EVENT)),), credentials=("ann", "a:ü"))
        self.assertIsNotNone(ask(settings, READ))
        self.assertIn(b"Authorization: Basic " + base64.b64encode("ann:a:ü".encode()) + b"\r\n", self.received)
        self.assertIsNone(ask(Settings(("http://127.0.0.1:1",), credentials=("a:b", "c")), READ))

    def test_errors_of_the_cluster(self) -> None:
        error = self.assertRaises(
            KeyExists, self.answer_to, WRITE, response("412 Precondition Failed", ERROR % (105, b"/key"))
        )
        self.assertEqual((error.code, error.cause, error.index), (105, "/key", 7))

    def test_what_is_left_to_a_client(self) -> None:
        """Nothing was changed by any of these, so that the client may begin anew."""
        for status, body in (
            ("307 Temporary Redirect", b""),
            ("500 Internal Server Error", ERROR % (301, b"")),
            ("500 Internal Server Error", ERROR % (300, b"this machine is stopping")),
        ):
            for request in (READ, WRITE):
                self.received = b""
                self.assertIsNone(self.answer_to(request, response(status, body)), status)

    def test_no_time_is_left(self) -> None:
        """A client would send a write for whose answer it can't wait. Nothing was changed, and the reason is told."""
        answer = response("500 Internal Server Error", ERROR % (300, b"no leader is known; try again"))
        settings = Settings((self.serve(answer),), total_seconds=0.9)
        error = self.assertRaises(ConnectionFailed, ask, settings, WRITE)
        self.assertIn("no leader is known; try again", str(error))

    def test_a_refusal_takes_more_time_than_is_left(self) -> None:
        """A client would wait in vain for the next one, and then not know that nothing was done."""
        answer = response("500 Internal Server Error", ERROR % (300, b"no leader is known; try again"))
        times = iter((0.0, 0.0, 2.4, 0.0, 0.0, 2.6))  # it begins, it asks, and it is answered
        self.patch(direct, "time", SimpleNamespace(monotonic=lambda: next(times)))
        self.assertIsNone(self.answer_to(WRITE, answer))
        self.received = b""
        self.assertRaises(ConnectionFailed, self.answer_to, WRITE, answer)

    def test_unknown_outcomes(self) -> None:
        """A machine that may have carried out a write is not asked again, nor is another one; a read is harmless."""
        whole = response("201 Created", EVENT)
        for answers in ([], [whole[:-9]], [b"nonsense"], [response("503 Service Unavailable", b"proxy")]):
            self.received = b""
            self.assertRaises(OutcomeUnknown, self.answer_to, WRITE, *answers)
            self.received = b""
            self.assertIsNone(self.answer_to(READ, *answers), answers)

    def test_silent_machines(self) -> None:
        """A read waits for as long as one machine may take, a write for as long as a request may."""
        silent = socket.create_server(("127.0.0.1", 0))
        self.addCleanup(silent.close)
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        self.assertIsNone(ask(Settings((url,), attempt_seconds=0.01), READ))
        error = self.assertRaises(OutcomeUnknown, ask, Settings((url,), total_seconds=0.01), WRITE)
        self.assertEqual(str(error), f"{url} has not answered: no answer within 0.01 seconds")

    def test_machines_that_are_not_there(self) -> None:
        """The next one is asked. If all are like that, a client tries for longer, and says why it can't."""
        (port,) = free_ports(1)
        missing = f"http://127.0.0.1:{port}"
        self.assertIsNone(ask(Settings((missing,)), WRITE))
        url = self.serve(response("201 Created", EVENT))
        self.assertIsNotNone(ask(Settings((missing, url)), WRITE))

    def test_what_only_a_client_can(self) -> None:
        """It knows TLS and SRV records, and says what is wrong with an endpoint. Nothing is sent here."""
        url = self.serve()
        refused: list[Callable[[], Settings]] = [
            lambda: Settings((url, "https://127.0.0.1:1")),
            lambda: Settings((url,), discovery_srv="example.com"),
            lambda: Settings((url, "nonsense://x")),
        ]
        for settings in refused:
            self.assertIsNone(ask(settings(), READ))
        self.assertEqual(self.received, b"")
        socket.create_connection(("127.0.0.1", int(url.rpartition(":")[2]))).close()  # the server ends
