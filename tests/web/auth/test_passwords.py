"""
Hashes of passwords: what they match, and how many are computed at a time.
"""

import threading
from unittest.mock import patch

import bcrypt
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet import reactor
from twisted.internet.defer import CancelledError, maybeDeferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase, TestCase

from etcd_twisted.errors import ErrorCode, EtcdError
from etcd_twisted.web.auth.passwords import LONGEST_PASSWORD_BYTES, MOST_AT_ONCE, MOST_WAITING, Passwords, thread_pool
from tests.web.auth.threads import COST, Threads

passwords = st.binary(min_size=1, max_size=LONGEST_PASSWORD_BYTES)


class HashTests(SynchronousTestCase):
    """These tests compute hashes at once."""

    def setUp(self) -> None:
        self.passwords = Passwords(maybeDeferred, COST)

    @given(passwords, passwords)
    def test_a_hash_matches_its_password_alone(self, password: bytes, other: bytes) -> None:
        """A byte in the middle that is 0 ends no password."""
        stored = self.successResultOf(self.passwords.hash(password))
        self.assertTrue(self.successResultOf(self.passwords.check(password, stored)))
        self.assertEqual(self.successResultOf(self.passwords.check(other, stored)), other == password)

    def test_hashes_are_bcrypts_with_the_cost_and_a_salt_of_their_own(self) -> None:
        first, second = (self.successResultOf(self.passwords.hash(b"x")) for _ in range(2))
        self.assertTrue(first.startswith(f"$2b${COST:02}$"))
        self.assertNotEqual(first, second)

    def test_etcds_hashes_match(self) -> None:
        """They have the prefix $2a$."""
        stored = bcrypt.hashpw(b"secret", bcrypt.gensalt(COST, b"2a")).decode()
        self.assertTrue(self.successResultOf(self.passwords.check(b"secret", stored)))

    def test_what_is_no_hash_matches_nothing_and_costs_as_much(self) -> None:
        """So does a user who does not exist: each is one check of a hash with the cost of a new one."""
        checked: list[bytes] = []

        def check(password: bytes, password_hash: bytes) -> bool:
            checked.append(password_hash)
            return real(password, password_hash)

        real = bcrypt.checkpw
        stored = (None, "", "x", "$2b$04$short", f"$2b${COST:02}$" + 53 * "!")
        with patch.object(bcrypt, "checkpw", check):
            for each in stored:
                self.assertFalse(self.successResultOf(self.passwords.check(b"x", each)))
        self.assertEqual([each[:7] for each in checked], [f"$2b${COST:02}$".encode()] * len(stored))


class QueueTests(SynchronousTestCase):
    """These tests have threads that wait for the test."""

    def setUp(self) -> None:
        self.threads = Threads()
        self.passwords = Passwords(self.threads.defer, COST)

    def test_only_some_run_at_a_time(self) -> None:
        """The others follow in their order."""
        done: list[int] = []
        for number in range(MOST_AT_ONCE + 2):
            self.passwords.hash(b"x").addCallback(lambda _, number=number: done.append(number))
        self.assertEqual(len(self.threads.begun), MOST_AT_ONCE)
        self.threads.run()
        self.assertEqual(done, list(range(MOST_AT_ONCE + 2)))

    def test_one_that_is_withdrawn_is_not_computed(self) -> None:
        """One that is being computed keeps its thread until it ends."""
        results = [self.passwords.hash(b"x") for _ in range(MOST_AT_ONCE + 2)]
        results[0].cancel()
        results[-1].cancel()
        self.failureResultOf(results[0], CancelledError)
        self.failureResultOf(results[-1], CancelledError)
        self.assertEqual(len(self.threads.begun), MOST_AT_ONCE)
        self.threads.run()
        self.assertEqual(self.threads.calls, MOST_AT_ONCE + 1)
        self.assertTrue(all(self.successResultOf(each) for each in results[1:-1]))

    def test_there_is_a_bound(self) -> None:
        results = [self.passwords.check(b"x", None) for _ in range(MOST_AT_ONCE + MOST_WAITING)]
        refused = self.failureResultOf(self.passwords.check(b"x", None), EtcdError).value
        self.assertEqual(refused.code, ErrorCode.RAFT_INTERNAL)
        results[-1].cancel()
        self.failureResultOf(results[-1], CancelledError)
        self.assertNoResult(self.passwords.check(b"x", None))

    def test_a_failure_reaches_the_one_who_waits(self) -> None:
        with patch.object(bcrypt, "checkpw", side_effect=ZeroDivisionError):
            result = self.passwords.check(b"x", None)
            self.threads.run()
        self.failureResultOf(result, ZeroDivisionError)
        self.threads.run()
        after = self.passwords.hash(b"x")
        self.threads.run()
        self.successResultOf(after)


class ThreadPoolTests(TestCase):
    """These tests are about where hashes are computed."""

    timeout = 60

    async def test_a_reactor_with_threads_computes_them_there(self) -> None:
        self.assertIsNot(await thread_pool(reactor)(threading.current_thread), threading.current_thread())

    async def test_a_simulated_reactor_computes_them_at_once(self) -> None:
        self.assertIs(self.successResultOf(thread_pool(Clock())(threading.current_thread)), threading.current_thread())
