"""
L{etcd_twisted.httpd.responses}.
"""

from twisted.internet.defer import CancelledError, Deferred
from twisted.trial.unittest import SynchronousTestCase

from etcd_twisted.httpd.responses import Later, Response, as_deferred, plain


class LaterTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.response = plain(200, "here")
        self.heard: list[Response] = []

    def test_a_listener_from_before_gets_the_response(self) -> None:
        later = Later()
        later.listen(self.heard.append)
        self.assertEqual(self.heard, [])
        later.answer(self.response)
        self.assertEqual(self.heard, [self.response])

    def test_a_listener_from_after_gets_the_response(self) -> None:
        later = Later()
        later.answer(self.response)
        later.listen(self.heard.append)
        self.assertEqual(self.heard, [self.response])

    def test_a_cancelled_response_is_dropped(self) -> None:
        later = Later()
        later.listen(self.heard.append)
        later.cancel()
        later.answer(self.response)
        self.assertEqual(self.heard, [])

    def test_a_response_can_follow_a_deferred(self) -> None:
        later = Later()
        later.listen(self.heard.append)
        source: Deferred[Response] = Deferred()
        later.follow(lambda: source)
        source.callback(self.response)
        self.assertEqual(self.heard, [self.response])

    def test_cancelling_cancels_the_deferred(self) -> None:
        later = Later()
        later.listen(self.heard.append)
        source: Deferred[Response] = Deferred()
        later.follow(lambda: source)
        later.cancel()
        self.failureResultOf(source, CancelledError)
        self.assertEqual(self.heard, [])

    def test_cancelling_before_prevents_the_beginning(self) -> None:
        later = Later()
        later.listen(self.heard.append)
        later.cancel()
        begun: list[Deferred[Response]] = []

        def begin() -> "Deferred[Response]":
            begun.append(Deferred())
            return begun[-1]

        later.follow(begin)
        self.assertEqual(begun, [])

    def test_a_later_response_can_be_a_deferred(self) -> None:
        later = Later()
        answer = as_deferred(later)
        self.assertNoResult(answer)
        later.answer(self.response)
        self.assertIs(self.successResultOf(answer), self.response)

    def test_cancelling_that_deferred_cancels_the_response(self) -> None:
        later = Later()
        answer = as_deferred(later)
        answer.cancel()
        self.assertEqual(self.successResultOf(answer).body, b"the client is gone\n")
        later.answer(self.response)
