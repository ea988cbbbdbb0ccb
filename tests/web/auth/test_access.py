"""
Who makes a request, when the door keeps its header with a block of header lines.
"""

from twisted.internet.defer import Deferred, maybeDeferred
from twisted.trial.unittest import SynchronousTestCase

from etcd_twisted.auth.state import AuthState, Role
from etcd_twisted.errors import ErrorCode, EtcdError
from etcd_twisted.httpd.handler import Authorization, ParsedRequest
from etcd_twisted.testing.replica import FakeReplica
from etcd_twisted.web.access import Access
from etcd_twisted.web.auth.failed_attempts import LONGEST_PAUSE_SECONDS
from etcd_twisted.web.auth.passwords import Passwords
from tests.web.auth.test_authenticator import basic, with_users
from tests.web.auth.threads import COST


class KeptHeaderTests(SynchronousTestCase):
    """These tests make requests with one header, whose user is kept with it."""

    def setUp(self) -> None:
        self.replica = FakeReplica()
        self.access = Access(self.replica, self.replica.clock, Passwords(maybeDeferred, COST))
        self.header = Authorization(basic("alice", "secret"))

    def identify(self, state: AuthState) -> str | None:
        """Returns who makes a request with the header, or C{None} if the header is wrong."""
        request = ParsedRequest(b"GET", b"/k", authorization=self.header)
        identified = self.access.identify(state, request)
        if isinstance(identified, Deferred):
            self.replica.clock.advance(LONGEST_PAUSE_SECONDS)
            identified.addErrback(lambda failure: self.assertEqual(failure.value.code, ErrorCode.UNAUTHORIZED))
            self.successResultOf(identified)
        return request.user

    def test_a_header_is_looked_at_once(self) -> None:
        """That is so as long as users and roles are the same."""
        state = with_users(alice="secret")
        for _ in range(3):
            self.assertEqual(self.identify(state), "alice")
        self.assertEqual(self.header.found, (state.cache, "alice"))
        self.assertEqual(self.access._authenticator.user(state, bytes(self.header), None), "alice")

    def test_another_state_voids_it(self) -> None:
        """The user is known if only other things have changed, and not if the password has, or the user is gone."""
        state = with_users(alice="secret")
        for _ in range(2):
            self.identify(state)
        self.assertEqual(self.identify(AuthState(True, state.users, {"r": Role("r")})), "alice")
        self.assertIsNone(self.identify(with_users(alice="other")))
        self.assertIsNone(self.identify(AuthState(True)))
        self.assertEqual(self.identify(state), "alice")

    def test_a_wrong_header_is_not_kept(self) -> None:
        self.header = Authorization(basic("alice", "wrong"))
        for _ in range(2):
            self.assertIsNone(self.identify(with_users(alice="secret")))
        self.assertIsNone(self.header.found)
        self.header = Authorization(b"Bearer x")
        error = self.assertRaises(EtcdError, self.identify, with_users(alice="secret"))
        self.assertEqual(error.code, ErrorCode.UNAUTHORIZED)
