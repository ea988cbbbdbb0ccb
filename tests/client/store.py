"""
A machine in memory that belongs to a test of this project: see L{MemoryMachine}.

This module must never wait for real time.
"""

from typing import TypeVar

from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from etcd_twisted.client import Client, Timeouts
from etcd_twisted.config import Config
from etcd_twisted.keyspace.nodes import Directory, File
from etcd_twisted.testing.memory_machine import STEP_SECONDS, MemoryMachine
from etcd_twisted.testing.replica import FakeReplica

__all__ = ["STEP_SECONDS", "Store"]

_T = TypeVar("_T")

MAX_REQUEST_BYTES = 100_000


class Store(MemoryMachine):
    """A machine whose clients the test closes at its end; then nothing may be left on the clock by clients."""

    def __init__(
        self,
        test: SynchronousTestCase,
        history_capacity: int = 1_000,
        replica: FakeReplica | None = None,
        latency_seconds: float = 0.0,
    ) -> None:
        """
        @param replica: the replica of another store that this one is another way to.
        """
        replica = FakeReplica(None, history_capacity) if replica is None else replica
        super().__init__(replica, latency_seconds, Config(max_request_bytes=MAX_REQUEST_BYTES))
        self._test = test

    def client(
        self,
        timeouts: Timeouts = Timeouts(),  # noqa: B008  # it is frozen
        credentials: tuple[str, str] | None = None,
    ) -> Client:
        """See L{MemoryMachine.client}."""
        client = super().client(timeouts, credentials)
        self._test.addCleanup(client.close)
        return client

    def result_of(self, deferred: "Deferred[_T]", most_seconds: float = 0) -> _T:
        """Returns the result of what needs no time, unless it is given some."""
        return super().result_of(deferred, most_seconds)

    def node(self, key: str) -> Directory | File | None:
        """Returns what is at a key, without a client."""
        node: Directory | File | None = self.replica.keyspace.root
        for name in key.strip("/").split("/"):
            node = node.children.get(name) if isinstance(node, Directory) else None
        return node

    def names(self, directory: str) -> list[str]:
        """Returns the names of what is in a directory, without a client."""
        node = self.node(directory)
        return sorted(node.children, key=lambda name: (len(name), name)) if isinstance(node, Directory) else []
