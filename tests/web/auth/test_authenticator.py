"""
Who makes a request, by its credentials: with bcrypt at its lowest cost, threads that wait for the test, and a clock.
"""

from base64 import b64encode
from collections.abc import Iterator
from unittest.mock import patch

import bcrypt
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import Clock
from twisted.logger import formatEvent
from twisted.trial.unittest import SynchronousTestCase

from etcd_twisted.auth.state import GUEST, AuthState, User
from etcd_twisted.errors import EtcdError
from etcd_twisted.web.auth import authenticator as module
from etcd_twisted.web.auth.authenticator import Authenticator, UnauthenticatedError
from etcd_twisted.web.auth.failed_attempts import FIRST_PAUSE_SECONDS, FREE_ATTEMPTS, LONGEST_PAUSE_SECONDS
from etcd_twisted.web.auth.passwords import MOST_AT_ONCE, MOST_WAITING, Passwords
from tests.logs.lines import Log
from tests.web.auth.threads import COST, Threads


def hashed(password: str) -> str:
    return bcrypt.hashpw(password.encode(), bcrypt.gensalt(COST)).decode()


def basic(name: str, password: str) -> bytes:
    """Returns the header of a user."""
    return b"Basic " + b64encode(f"{name}:{password}".encode())


def with_users(**passwords: str) -> AuthState:
    """Returns a state with these users."""
    return AuthState(True, {name: User(name, hashed(each)) for name, each in passwords.items()})


STATE = with_users(alice="secret", bob="a:b", root="rp")


class AuthenticatorTestCase(SynchronousTestCase):
    """
    A test of an authenticator.

    @ivar threads: where its hashes are computed.
    """

    def setUp(self) -> None:
        self.clock = Clock()
        self.threads = Threads()
        self.authenticator = Authenticator(self.clock, Passwords(self.threads.defer, COST))

    def begin(self, header: bytes | None, state: AuthState = STATE) -> "Deferred[str]":
        """Begins to find out who a user is, whose header has to be checked."""
        user = self.authenticator.user(state, header, None)
        assert isinstance(user, Deferred)
        return user

    def settle(self) -> None:
        """Lets everything happen that is due."""
        self.clock.advance(0)
        self.threads.run()

    def user(self, header: bytes | None, state: AuthState = STATE) -> str:
        """Returns who has this header."""
        user = self.authenticator.user(state, header, None)
        if isinstance(user, str):
            return user
        self.settle()
        return self.successResultOf(user)

    def refuse(self, header: bytes, state: AuthState = STATE) -> None:
        """Asserts that the header is refused, when its turn comes."""
        user = self.begin(header, state)
        self.clock.pump([LONGEST_PAUSE_SECONDS])
        self.settle()
        self.failureResultOf(user, UnauthenticatedError)


class WithoutHeaderTests(AuthenticatorTestCase):
    def test_a_request_without_credentials_is_a_guests(self) -> None:
        self.assertEqual(self.authenticator.user(STATE, None, None), GUEST)

    def test_a_certificate_names_a_user(self) -> None:
        """One that names nobody is a guest's."""
        self.assertEqual(self.authenticator.user(STATE, None, "alice"), "alice")
        for name in ("nobody", "", "Alice"):
            self.assertEqual(self.authenticator.user(STATE, None, name), GUEST)

    def test_the_header_counts_before_the_certificate(self) -> None:
        """A wrong one is refused, whatever the certificate says."""
        user = self.authenticator.user(STATE, basic("bob", "a:b"), "alice")
        assert isinstance(user, Deferred)
        self.settle()
        self.assertEqual(self.successResultOf(user), "bob")
        wrong = self.authenticator.user(STATE, basic("bob", "x"), "alice")
        assert isinstance(wrong, Deferred)
        self.settle()
        self.failureResultOf(wrong, UnauthenticatedError)


class HeaderTests(AuthenticatorTestCase):
    def test_right_credentials(self) -> None:
        """A password may have a colon; a name can't."""
        self.assertEqual(self.user(basic("alice", "secret")), "alice")
        self.assertEqual(self.user(basic("bob", "a:b")), "bob")
        self.assertEqual(self.user(basic("alice", "secret").replace(b"Basic", b"bASIC ")), "alice")

    def test_wrong_credentials(self) -> None:
        """They are never a guest's."""
        for header in (basic("alice", "other"), basic("alice", ""), basic("nobody", "secret"), basic("", "secret")):
            self.refuse(header)

    def test_what_is_no_credentials_is_refused_at_once(self) -> None:
        malformed = (b"", b"Basic", b"Basic ", b"Basic !!", b"Bearer x", b"Basic " + b64encode(b"alice"))
        malformed += (basic("alice", "secret")[:-1], b"Basic " + b64encode(b"\xff:secret"), basic("alice", "x" * 73))
        for header in malformed:
            self.assertRaises(UnauthenticatedError, self.authenticator.user, STATE, header, None)
        self.assertEqual(self.threads.calls, 0)

    @given(st.binary(max_size=40), st.sampled_from([b"", b"Basic "]), st.booleans())
    def test_no_header_is_taken_for_a_guests(self, rest: bytes, scheme: bytes, encode: bool) -> None:
        header = scheme + (b64encode(rest) if encode else rest)
        self.threads.run()
        try:
            user = self.authenticator.user(AuthState(True), header, None)
        except UnauthenticatedError:
            return
        assert isinstance(user, Deferred)
        user.addErrback(lambda failure: failure.trap(UnauthenticatedError, CancelledError))
        user.addCallback(self.assertIsNot, GUEST)
        user.cancel()

    def test_a_wrong_password_and_an_unknown_name_cost_one_check_each(self) -> None:
        """The check of an unknown name is one of a hash with the same cost."""
        costs: list[bytes] = []
        real = bcrypt.checkpw

        def check(password: bytes, password_hash: bytes) -> bool:
            costs.append(password_hash[:7])
            return real(password, password_hash)

        with patch.object(bcrypt, "checkpw", check):
            self.refuse(basic("alice", "wrong"))
            self.refuse(basic("nobody", "wrong"))
        self.assertEqual(costs, [f"$2b${COST:02}$".encode()] * 2)
        self.assertEqual(self.authenticator.failed_attempts, 2)


class RememberingTests(AuthenticatorTestCase):
    def test_a_header_that_was_right_is_not_checked_again(self) -> None:
        self.user(basic("alice", "secret"))
        self.assertEqual(self.authenticator.user(STATE, basic("alice", "secret"), None), "alice")
        self.assertEqual(self.threads.calls, 1)

    def test_a_wrong_one_is_not_checked_again(self) -> None:
        """It is refused later each time."""
        header = basic("alice", "wrong")
        waits = []
        for _ in range(FREE_ATTEMPTS + 8):
            user, since = self.begin(header), self.clock.seconds()
            self.settle()
            while not user.called:
                self.clock.advance(FIRST_PAUSE_SECONDS)
            self.failureResultOf(user, UnauthenticatedError)
            waits.append(self.clock.seconds() - since)
        self.assertEqual(self.threads.calls, 1)
        self.assertEqual(waits, sorted(waits))
        self.assertEqual((waits[FREE_ATTEMPTS - 2], waits[-1]), (0, LONGEST_PAUSE_SECONDS))
        self.assertEqual(self.authenticator.failed_attempts, FREE_ATTEMPTS + 8)

    def test_a_wrong_one_may_become_right(self) -> None:
        """So it is when the user gets that password, or is created with it."""
        self.refuse(basic("alice", "new"))
        self.refuse(basic("carol", "new"))
        self.assertEqual(self.user(basic("alice", "new"), with_users(alice="new")), "alice")
        self.assertEqual(self.user(basic("carol", "new"), with_users(carol="new")), "carol")

    def test_one_that_was_not_checked_is_not_known_to_be_wrong(self) -> None:
        """There were too many others before it."""
        guesses = [self.begin(basic("alice", f"guess{each}")) for each in range(100)]
        right = self.begin(basic("alice", "secret"))
        self.failureResultOf(right, UnauthenticatedError)
        for each in guesses:
            each.cancel()
            each.addErrback(lambda failure: failure.trap(CancelledError, UnauthenticatedError))
        self.clock.advance(100)
        self.threads.run()
        self.assertEqual(self.user(basic("alice", "secret")), "alice")

    def test_another_password_voids_it(self) -> None:
        """So does the same password with another hash, and the end of the user."""
        header = basic("alice", "secret")
        self.user(header)
        for state in (with_users(alice="new"), with_users(bob="secret")):
            self.refuse(header, state)
        self.assertEqual(self.threads.calls, 3)
        self.assertEqual(self.user(header, with_users(alice="secret")), "alice")
        self.assertEqual(self.threads.calls, 4)

    def test_a_header_does_not_stand_for_another(self) -> None:
        self.user(basic("alice", "secret"))
        self.refuse(basic("alice", "secre"))
        self.refuse(basic("bob", "secret"))

    def test_there_is_a_bound(self) -> None:
        """The oldest is checked again, among those that were right and those that were wrong."""
        self.patch(module, "MOST_REMEMBERED", 2)
        headers = [basic("alice", "secret"), basic("bob", "a:b"), basic("root", "rp")]
        for header in headers:
            self.user(header)
        for header in headers[1:]:
            self.assertIsInstance(self.authenticator.user(STATE, header, None), str)
        self.assertEqual((self.user(headers[0]), self.threads.calls), ("alice", 4))
        for name in ("nobody0", "nobody1", "nobody2", "nobody2", "nobody0"):
            self.refuse(basic(name, "x"))
        self.assertEqual(self.threads.calls, 8)

    def test_nothing_remembered_or_shown_has_a_password_or_a_hash(self) -> None:
        """That is so for attributes, however deep, and for what an error says."""
        log = Log(self)
        self.user(basic("alice", "secret"))
        for _ in range(FREE_ATTEMPTS + 1):
            self.refuse(basic("alice", "wrong secret"))
        texts = [repr(UnauthenticatedError()), repr(STATE), repr(self.authenticator)]
        texts += [formatEvent(each) + repr(each) for each in log.events]
        for text in texts:
            for secret in ("secret", "$2b$", basic("alice", "secret").decode()[6:]):
                self.assertNotIn(secret, text)
        kept = list(leaves(vars(self.authenticator)))
        self.assertIn("alice", kept)  # the walk finds what is remembered
        self.assertFalse(
            any(b"secret" in each or basic("alice", "secret") in each for each in kept if type(each) is bytes)
        )


def leaves(value: object) -> Iterator[object]:
    """Yields all texts and bytes in containers."""
    if isinstance(value, dict):
        for key, each in value.items():
            yield from leaves(key)
            yield from leaves(each)
    elif isinstance(value, tuple | list | set):
        for each in value:
            yield from leaves(each)
    else:
        yield value


class TogetherTests(AuthenticatorTestCase):
    """These tests are about requests that come while others are checked."""

    def test_the_same_header_is_checked_once(self) -> None:
        users = [self.begin(basic("alice", "secret")) for _ in range(50)]
        self.settle()
        self.assertEqual([self.successResultOf(each) for each in users], ["alice"] * 50)
        self.assertEqual(self.threads.calls, 1)

    def test_the_same_wrong_header_is_refused_together(self) -> None:
        users = [self.begin(basic("alice", "wrong")) for _ in range(3)]
        self.settle()
        for each in users:
            self.failureResultOf(each, UnauthenticatedError)

    def test_one_that_goes_away_leaves_the_others(self) -> None:
        users = [self.begin(basic("alice", "secret")) for _ in range(3)]
        users[0].cancel()
        self.failureResultOf(users[0], CancelledError)
        users[1].addCallback(lambda user: users[2].cancel() or user)
        self.settle()
        self.assertEqual(self.successResultOf(users[1]), "alice")
        self.failureResultOf(users[2], CancelledError)

    def test_a_check_that_nobody_waits_for_is_not_made(self) -> None:
        running = [self.begin(basic(f"nobody{each}", "x")) for each in range(MOST_AT_ONCE)]
        waiting = self.begin(basic("alice", "secret"))
        waiting.cancel()
        self.failureResultOf(waiting, CancelledError)
        self.settle()
        for each in running:
            self.failureResultOf(each, UnauthenticatedError)
        self.assertEqual(self.threads.calls, MOST_AT_ONCE)
        self.assertEqual(self.user(basic("alice", "secret")), "alice")

    def test_a_password_that_changes_meanwhile_is_another_check(self) -> None:
        old, new = self.begin(basic("alice", "new")), self.begin(basic("alice", "new"), with_users(alice="new"))
        self.settle()
        self.failureResultOf(old, UnauthenticatedError)
        self.assertEqual(self.successResultOf(new), "alice")

    def test_too_many_are_refused(self) -> None:
        users = [self.begin(basic(f"nobody{each}", "x")) for each in range(MOST_AT_ONCE + MOST_WAITING)]
        self.failureResultOf(self.begin(basic("alice", "secret")), EtcdError)
        for each in users:
            each.cancel()
            self.failureResultOf(each, CancelledError)
        self.threads.run()
        self.assertEqual(self.user(basic("alice", "secret")), "alice")


class SlowDownTests(AuthenticatorTestCase):
    def exhaust(self, name: str) -> None:
        for number in range(FREE_ATTEMPTS):
            user = self.begin(basic(name, f"wrong{number}"))
            self.settle()
            self.failureResultOf(user, UnauthenticatedError)

    def test_a_name_waits_after_failures(self) -> None:
        """A name that nobody has waits as long."""
        for name in ("alice", "nobody"):
            self.exhaust(name)
            calls = self.threads.calls
            user = self.begin(basic(name, "secret"))
            self.settle()
            self.assertNoResult(user)
            self.assertEqual(self.threads.calls, calls)
            self.clock.advance(LONGEST_PAUSE_SECONDS)
            self.threads.run()
            if name == "alice":
                self.assertEqual(self.successResultOf(user), "alice")
            else:
                self.failureResultOf(user, UnauthenticatedError)

    def test_who_has_logged_in_is_not_slowed_down(self) -> None:
        """Failures of others under the same name change nothing for a header that is remembered."""
        self.user(basic("alice", "secret"))
        self.exhaust("alice")
        self.assertEqual(self.authenticator.user(STATE, basic("alice", "secret"), None), "alice")

    def test_an_old_password_does_not_slow_down_others(self) -> None:
        """A program that goes on with it is slowed down itself; those that have the new one are not."""
        old = [self.begin(basic("alice", "old")) for _ in range(50)]
        self.settle()
        old += [self.begin(basic("alice", "old")) for _ in range(50)]
        self.assertEqual(self.user(basic("alice", "secret")), "alice")
        self.clock.advance(LONGEST_PAUSE_SECONDS)
        for each in old:
            self.failureResultOf(each, UnauthenticatedError)

    def test_an_old_password_is_in_the_log(self) -> None:
        log = Log(self)
        for _ in range(FREE_ATTEMPTS + 5):
            self.refuse(basic("alice", "old"))
            self.refuse(basic("nobody", "old"))
        self.assertEqual(log.warnings, ["Log-ins as 'alice' fail again and again, and are slowed down"])

    def test_an_attempt_that_goes_away_is_not_made(self) -> None:
        self.exhaust("alice")
        user = self.begin(basic("alice", "secret"))
        user.cancel()
        self.failureResultOf(user, CancelledError)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_the_log_names_a_user_once(self) -> None:
        """It does not name what is no user's name: it may be a password."""
        log = Log(self)
        self.exhaust("nobody")
        self.refuse(basic("nobody", "wrong"))
        self.assertEqual(log.warnings, [])
        self.exhaust("alice")
        self.refuse(basic("alice", "wrong"))
        self.assertEqual(log.warnings, ["Log-ins as 'alice' fail again and again, and are slowed down"])

    def test_guesses_at_once_are_refused_without_being_checked(self) -> None:
        guesses = [self.begin(basic("alice", f"guess{each}")) for each in range(100)]
        for _ in range(100):
            self.clock.advance(1)
            self.threads.run()
        for each in guesses:
            self.failureResultOf(each, UnauthenticatedError)
        self.assertLess(self.threads.calls, 12)
