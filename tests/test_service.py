"""
L{etcd_twisted.service}: a whole machine in this process.
"""

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from twisted.application.service import Service
from twisted.internet import reactor
from twisted.internet.defer import CancelledError, Deferred, fail, succeed
from twisted.trial.unittest import TestCase

from etcd_twisted import service as module
from etcd_twisted.config import Config
from etcd_twisted.config.addresses import Address
from etcd_twisted.errors import StartError, StorageError
from etcd_twisted.keyspace.commands import Set
from etcd_twisted.peer.port import PeerPort
from etcd_twisted.service import EtcdService
from etcd_twisted.web.admin import AdminPages
from etcd_twisted.web.late_pages import LatePages

ANY_PORT = Address("127.0.0.1", 0)


class Frontend(Service):
    """A frontend and its service, which may fail."""

    name = "test"
    starts: "Deferred[None]"
    stops: "Deferred[None]"

    def __init__(self, starts: "Deferred[None] | None" = None, stops: "Deferred[None] | None" = None) -> None:
        self.starts = starts or succeed(None)
        self.stops = stops or succeed(None)
        self.stopped = 0

    def service(self, *_arguments: Any) -> "Frontend":
        return self

    def startService(self) -> "Deferred[None]":
        return self.starts

    def stopService(self) -> "Deferred[None]":
        self.stopped += 1
        return self.stops


class ServiceTests(TestCase):
    def setUp(self) -> None:
        self.path = Path(self.mktemp())
        self.fatal: list[str] = []

    def service(self, *frontends: Frontend) -> EtcdService:
        chosen = module.chosen_frontends
        self.patch(module, "chosen_frontends", lambda config: [*chosen(config), *((each, {}) for each in frontends)])
        config = Config(data_dir=self.path, bind_addr=ANY_PORT, peer_bind_addr=ANY_PORT)
        return EtcdService(reactor, config, self.fatal.append)

    def assertClosed(self) -> None:
        """Asserts that nothing runs any more, and that the data directory is free. Trial checks the ports."""
        self.assertEqual([thread.name for thread in threading.enumerate() if thread.name == "disk"], [])
        module.Storage.open(self.path, "--data-dir").close()

    async def test_a_machine_that_is_embedded_keeps_what_it_is_told(self) -> None:
        for index in (2, 3):
            service = self.service()
            service.startService()
            await service.started
            replica = service.replica
            event = await replica.propose(Set(f"/k{index}", replica.now(), "v"))
            self.assertEqual(event.index, index)
            await service.stopService()
            self.assertClosed()

    async def test_keys_expire_by_the_given_clock(self) -> None:
        """The clock sets the time at the start, and the reactor advances it."""
        config = Config(data_dir=self.path, bind_addr=ANY_PORT, peer_bind_addr=ANY_PORT)
        service = EtcdService(reactor, config, self.fatal.append, wall_clock=lambda: 5.0)
        service.startService()
        await service.started
        self.assertEqual(service.replica.now() // 100_000_000, 0)
        event = await service.replica.propose(Set("/a", 5_000_000, "v", expires=7_000_000))
        self.assertEqual((event.node.expiration, event.node.ttl), ("1970-01-01T00:00:07.000000Z", 2))
        await service.stopService()
        self.assertClosed()

    async def test_a_frontend_that_can_not_be_stopped_keeps_nothing_else_open(self) -> None:
        frontend = Frontend(stops=fail(RuntimeError("stuck")))
        service = self.service(frontend)
        service.startService()
        await service.started
        first, second = service.stopService(), service.stopService()
        await self.assertFailure(first, RuntimeError)
        await self.assertFailure(second, RuntimeError)
        self.assertEqual(frontend.stopped, 1)
        self.assertClosed()
        self.flushLoggedErrors(RuntimeError)

    async def test_what_was_started_last_is_stopped_first(self) -> None:
        """Other machines are served until the very end."""
        stopped: list[str] = []

        def noting(name: str, stop: Callable[[], Any]) -> Callable[[], Any]:
            def note() -> Any:
                stopped.append(name)
                return stop()

            return note

        service = self.service(Frontend(), Frontend())
        self.assertIsInstance(service._frontends[0]._factory, PeerPort)
        for name, frontend in zip(("peer", "http", "first", "second"), service._frontends, strict=True):
            self.patch(frontend, "stopService", noting(name, frontend.stopService))
        service.startService()
        await service.started
        await service.stopService()
        self.assertEqual(stopped, ["second", "first", "http", "peer"])
        self.assertClosed()

    async def test_a_frontend_that_can_not_be_started_stops_the_start(self) -> None:
        first, refusing = Frontend(), Frontend(starts=fail(StartError("no such port")))
        service = self.service(first, refusing)
        service.startService()
        await self.assertFailure(service.started, StartError)
        self.assertFalse(service.accepted.called)
        await service.stopService()
        self.assertEqual((first.stopped, refusing.stopped), (1, 1))
        self.assertFalse(self.path.exists())

    async def test_keys_are_served_before_the_pages_are_there(self) -> None:
        """A machine whose pages can't be made has not started, so that no request for one finds it out."""
        serving = []

        def make() -> AdminPages:
            serving.append(service.replica.serving)
            raise ImportError("no module named klein")

        self.patch(module, "late_admin_pages", lambda *_: LatePages("etcd_twisted.web.admin", make))
        service = self.service()
        service.startService()
        await self.assertFailure(service.started, ImportError)
        self.assertEqual(serving, [True])
        await service.stopService()
        self.assertClosed()

    async def test_a_directory_that_can_not_be_used_is_left_unlocked(self) -> None:
        (self.path / "snapshots" / "00000000000000000001-00000000000000000001.snapshot").mkdir(parents=True)
        (self.path / "log").mkdir()
        service = self.service()
        service.startService()
        await self.assertFailure(service.started, StorageError)
        await service.stopService()
        again = self.service()
        again.startService()
        error = await self.assertFailure(again.started, StorageError)
        self.assertNotIn("in use", str(error))
        await again.stopService()

    async def test_a_machine_that_finds_no_cluster_leaves_nothing(self) -> None:
        nobody = (Address("127.0.0.1", 1),)
        config = Config(
            data_dir=self.path, bind_addr=ANY_PORT, peer_bind_addr=ANY_PORT, peers=nobody, max_retry_attempts=1
        )
        service = EtcdService(reactor, config, self.fatal.append)
        service.startService()
        await self.assertFailure(service.started, StartError)
        self.assertFalse(self.path.exists())
        await service.stopService()
        self.assertFalse(self.path.exists())
        self.assertClosed()

    async def test_a_service_can_be_stopped_before_it_has_started(self) -> None:
        service = self.service()
        service.startService()
        started = self.assertFailure(service.started, CancelledError)
        await service.stopService()
        await started
        self.assertClosed()

    async def test_a_service_can_be_stopped_while_a_frontend_starts(self) -> None:
        frontend = Frontend(starts=Deferred())
        service = self.service(frontend)
        service.startService()
        started = self.assertFailure(service.started, CancelledError)
        await service.stopService()
        await started
        self.assertFalse(self.path.exists())
