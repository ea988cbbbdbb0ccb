"""
Requests of the modules' pages through the server, and the errors that they may get.
"""

import json
from urllib.parse import urlencode

from twisted.trial.unittest import SynchronousTestCase

from etcd_twisted.keyspace.nodes import Directory
from etcd_twisted.web.modules.lock_queue import PREFIX
from tests.wires import Answer, Wire, read_answers

LOCK = "/mod/v2/lock/mylock"
LEADER = "/mod/v2/leader/myclustername"
QUEUE = PREFIX + "/mylock"

NO_TTL = (202, "The given TTL in POST form is not a number")
NO_TIMEOUT = (205, "The given timeout in POST form is not a number")
NO_NAME = (206, "Name is required in POST form")
NOT_NAMED = (207, "Index or value is required")
NAMED_TWICE = (208, "Index and value cannot both be specified")
NO_FIELD = (209, "Invalid field")
UNKNOWN = (100, "Key not found")
NOT_GOT = (101, "Compare failed")


def request(method: str, path: str, query: str = "", **form: object) -> bytes:
    body = urlencode(form).encode()
    target = f"{path}?{query}" if query else path
    return f"{method} {target} HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body


class Asking:
    """A request on a connection of its own, and a turn in which watchers receive their events."""

    def __init__(self, wire: Wire, method: str, path: str, query: str = "", **form: object) -> None:
        self.method = method
        channel, self.transport = wire.connect()
        channel.dataReceived(request(method, path, query, **form))
        wire.clock.advance(0)

    @property
    def answered(self) -> bool:
        return bool(self.transport.value())

    @property
    def answer(self) -> Answer:
        (answer,) = read_answers(self.transport.value(), self.method)
        return answer


class PagesTest(SynchronousTestCase):
    def setUp(self) -> None:
        self.wire = Wire()
        self.replica = self.wire.replica
        self.addCleanup(self.wire.stop)

    def start(self, method: str, path: str = LOCK, query: str = "", **form: object) -> Asking:
        return Asking(self.wire, method, path, query, **form)

    def ask(self, method: str, path: str = LOCK, query: str = "", **form: object) -> Answer:
        """Sends a request that is answered at once."""
        return self.start(method, path, query, **form).answer

    def text(self, method: str, path: str = LOCK, query: str = "", **form: object) -> str:
        """Returns the body of a successful answer."""
        return self.success(self.ask(method, path, query, **form))

    def success(self, answer: Answer) -> str:
        self.assertEqual((answer.status, answer.headers["Content-Type"]), (200, "text/plain; charset=utf-8"))
        self.assertLessEqual(int(answer.headers["X-Etcd-Index"]), self.replica.index)
        self.assertEqual(answer.headers["X-Raft-Term"], "1")
        self.assertIn("X-Raft-Index", answer.headers)
        return answer.body.decode()

    def error(self, answer: Answer) -> tuple[int, str, str]:
        error = json.loads(answer.body)
        self.assertEqual(set(error), {"errorCode", "message", "cause", "index"})
        self.assertEqual(answer.headers["Content-Type"], "application/json")
        self.assertEqual(answer.headers["X-Etcd-Index"], str(error["index"]))
        return error["errorCode"], error["message"], error["cause"]

    def assert_refused(
        self, expected: tuple[int, str], cause: str, method: str, path: str = LOCK, query: str = "", **form: object
    ) -> None:
        """Asserts that a request gets an error with the message of C{api.md}, and changes nothing."""
        index = self.replica.index
        answer = self.ask(method, path, query, **form)
        self.assertEqual(self.error(answer), (*expected, cause))
        self.assertEqual(answer.status, {100: 404, 101: 412}.get(expected[0], 400))
        self.assertEqual(self.replica.index, index)

    def names(self, directory: str = QUEUE) -> list[str]:
        node = self.replica.get(directory)
        assert isinstance(node, Directory)
        return sorted(node.children, key=int)
