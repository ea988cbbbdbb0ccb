"""
What tests of locks, semaphores and elections share.

This module must never look into a recipe: it sees what users see, and the keys in the store.
"""

from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from etcd_twisted.client import Client, ClientClosed
from etcd_twisted.client.recipes import Hold, Lock
from etcd_twisted.keyspace.commands import PadInOrderKeys
from tests.client.store import STEP_SECONDS, Store

DIRECTORY = "/locks/it"
TTL_SECONDS = 10


def pad_names(store: Store) -> None:
    """Set a store to pad the names of in-order keys with zeros, as etcd 2 and later do."""
    store.replica.keyspace.apply(PadInOrderKeys(store.replica.now()))


class ContenderTest(SynchronousTestCase):
    """Contenders in one directory of one store."""

    def setUp(self) -> None:
        self.store = Store(self)

    def client(self) -> Client:
        return self.store.client()

    def lock(self, client: Client | None = None) -> Lock:
        return Lock(self.client() if client is None else client, DIRECTORY, ttl_seconds=TTL_SECONDS)

    def step(self) -> None:
        """Let what is due right now happen, and a little more."""
        self.store.advance(STEP_SECONDS)

    def held(self, lock: Lock) -> Hold:
        """Returns what a lock that nobody holds gives."""
        return self.store.result_of(lock.acquire())

    def waiting(self, lock: Lock) -> "Deferred[Hold]":
        """Returns the result of a lock that others hold."""
        acquiring = lock.acquire()
        self.step()
        self.assertNoResult(acquiring)
        # A test may end while it still waits: then the end of its client ends it.
        self.addCleanup(acquiring.addErrback, lambda failure: failure.trap(ClientClosed) and None)
        return acquiring

    def keys(self) -> list[str]:
        """Returns the names of the contenders' keys."""
        return self.store.names(DIRECTORY)
