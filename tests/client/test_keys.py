"""Requests about keys, against a machine on a real port."""

from twisted.internet import reactor
from twisted.internet.interfaces import IReactorTime

from etcd_twisted.client import Client, ClientClosed
from tests.client import key_requests
from tests.processes.machine import Machine


class KeyTests(key_requests.KeyRequests):
    async def setUp(self) -> None:
        machine = Machine(self)
        await machine.embed()
        assert IReactorTime.providedBy(reactor)
        self.client = Client(machine.url, reactor=reactor)
        self.addCleanup(self.client.close)

    async def test_closed_client(self) -> None:
        await self.client.close()
        with self.assertRaises(ClientClosed):
            await self.client.get("/")

    def test_bad_arguments_are_named(self) -> None:
        for wrong, named in (
            (lambda: self.client.compare_and_swap("/key", "1"), "previous_value"),
            (lambda: self.client.compare_and_delete("/key", previous_value=""), "previous_value"),
            (lambda: self.client.set("/key", "1", ttl_seconds=-1), "ttl_seconds"),
        ):
            with self.assertRaises(ValueError) as caught:
                wrong()
            self.assertIn(named, str(caught.exception))

    def test_bad_types_are_named(self) -> None:
        for wrong, said in (
            (lambda: self.client.set("/key", b"1"), "the value of '/key' is bytes, but values are str"),  # type: ignore[arg-type]
            (lambda: self.client.set("/key", None), "the value of '/key' is NoneType, but values are str"),  # type: ignore[arg-type]
            (lambda: self.client.create_in_order("/key", None), "is NoneType, but values are str"),  # type: ignore[arg-type]
            (lambda: self.client.get(b"/key"), "the key b'/key' is bytes, but keys are str"),  # type: ignore[arg-type]
            (lambda: Client([b"http://127.0.0.1:4001"]), "is bytes, but endpoints are str"),  # type: ignore[list-item]
        ):
            with self.assertRaises(TypeError) as caught:
                wrong()
            self.assertIn(said, str(caught.exception))
