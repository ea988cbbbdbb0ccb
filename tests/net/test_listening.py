"""
Tests of opening ports, and of the reasons given when a port can't be opened.
"""

import contextlib
import errno
import os
import socket
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NoReturn
from unittest import mock

from twisted.internet import reactor
from twisted.internet.defer import ensureDeferred
from twisted.internet.error import CannotListenError
from twisted.internet.interfaces import IListeningPort
from twisted.internet.protocol import Factory
from twisted.trial.unittest import SynchronousTestCase, TestCase

from etcd_twisted.config.addresses import Address, Endpoint
from etcd_twisted.errors import StartError
from etcd_twisted.net.listening import ListenAddress, listen, listening_sockets


@contextlib.contextmanager
def patched(bind: Any, listen: Any) -> Iterator[None]:
    """Has sockets bind and listen in other ways."""
    with mock.patch("socket.socket.bind", bind), mock.patch("socket.socket.listen", listen):
        yield


class SharedPortTests(SynchronousTestCase):
    """Tests of L{listening_sockets}; the sockets are real."""

    def open(self, port: int, count: int = 2) -> list[socket.socket]:
        address = Address("127.0.0.1", port)
        opened = listening_sockets(ListenAddress(address, "--addr", "--addr"), address, count)
        for each in opened:
            self.addCleanup(each.close)
        return opened

    def test_all_sockets_listen_at_one_port(self) -> None:
        """The system spreads connections over all of them."""
        opened = self.open(0, 3)
        (address,) = {each.getsockname() for each in opened}
        for _ in range(100):
            socket.create_connection(address).close()
        for each in opened:
            each.accept()[0].close()

    def test_who_comes_meanwhile_is_refused_or_refuses(self) -> None:
        """
        Of two machines that open the same port at the same time, one gets it, wherever the other one is when it does.
        """
        bind, listen = socket.socket.bind, socket.socket.listen
        for moment in range(6):  # each moment at which the sockets of one have been bound, or listen
            others: list[socket.socket] = []
            left = [moment]

            def other(taken: int, others: list[socket.socket] = others, left: list[int] = left) -> None:
                left[0] -= 1
                if left[0] == -1:
                    with contextlib.suppress(StartError), patched(bind, listen):
                        others += self.open(taken)

            def bound(one: socket.socket, address: Any, other: Callable[[int], None] = other) -> None:
                bind(one, address)
                other(one.getsockname()[1])

            def listens(one: socket.socket, backlog: int, other: Callable[[int], None] = other) -> None:
                listen(one, backlog)
                other(one.getsockname()[1])

            opened: list[socket.socket] = []
            with contextlib.suppress(StartError), patched(bound, listens):
                opened = self.open(0)
            self.assertEqual((bool(opened), bool(others)), (not others, not opened), moment)


class ListenTests(TestCase):
    """Tests of L{listen} with addresses; the ports are real."""

    async def listen(self, host: str, port: int = 0, given_as: str = "--bind-addr") -> IListeningPort:
        opened = await listen(reactor, ListenAddress(Address(host, port), given_as, "--bind-addr"), Factory())
        self.addCleanup(opened.stopListening)
        return opened

    async def refused(self, host: str, port: int = 4001, given_as: str = "--bind-addr") -> str:
        with self.assertRaises(StartError) as caught:
            await self.listen(host, port, given_as)
        return str(caught.exception)

    async def test_only_the_given_address_is_listened_on(self) -> None:
        opened = await self.listen("127.0.0.1")
        self.assertEqual(opened.getHost().host, "127.0.0.1")

    async def test_a_host_name_is_looked_up(self) -> None:
        opened = await self.listen("localhost")
        self.assertIn(opened.getHost().host, ("127.0.0.1", "::1"))

    async def test_an_ipv6_address_is_listened_on(self) -> None:
        if not socket.has_ipv6:
            self.skipTest("this machine has no IPv6")
        opened = await self.listen("::1")
        self.assertEqual(opened.getHost().host, "::1")
        with socket.create_connection(("::1", opened.getHost().port)):
            pass

    async def test_a_port_in_use_is_refused_with_the_remedy(self) -> None:
        """The error is one line with the setting, the address and the remedy."""
        with socket.create_server(("127.0.0.1", 0)) as taken:
            port = taken.getsockname()[1]
            text = await self.refused("127.0.0.1", port, "ETCD_ADDR")
        remedy = "another program uses it: stop that, or choose another port"
        self.assertEqual(text, f"ETCD_ADDR 127.0.0.1:{port} can't be listened on: {remedy}")

    async def test_an_address_of_another_machine_is_refused(self) -> None:
        """The remedy names the flag for an address to listen on that differs from the advertised one."""
        remedy = "it is not an address of this machine: give --bind-addr the address to listen on, as in 0.0.0.0"
        self.assertEqual(await self.refused("192.0.2.1", given_as="--addr"),
                         f"--addr 192.0.2.1:4001 can't be listened on: {remedy}")  # fmt: skip

    async def test_an_unknown_host_name_is_refused(self) -> None:

        def unknown(*_: object, **__: object) -> NoReturn:
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

        self.patch(socket, "getaddrinfo", unknown)
        self.assertEqual(
            await self.refused("machine0.example.com", given_as="machine0.toml: addr"),
            "machine0.toml: addr machine0.example.com:4001: the host name can't be looked up "
            "(Name or service not known): give --bind-addr the address to listen on, as in 0.0.0.0",
        )


class EndpointTests(TestCase):
    """Tests of L{listen} with endpoint strings; the sockets are real."""

    def setUp(self) -> None:
        # The path of a socket has to be short, so it is not in trial's directory.
        directory = tempfile.TemporaryDirectory()
        self.addCleanup(directory.cleanup)
        self.path = Path(directory.name) / "etcd.sock"

    async def listen(self, text: str) -> IListeningPort:
        opened = await listen(reactor, ListenAddress(Endpoint(text), "ETCD_BIND_ADDR", "--bind-addr"), Factory())
        self.addCleanup(opened.stopListening)
        return opened

    async def refused(self, text: str) -> str:
        with self.assertRaises(StartError) as caught:
            await self.listen(text)
        story = str(caught.exception)
        self.assertTrue(story.startswith(f"ETCD_BIND_ADDR {text} "), story)
        self.assertNotIn("\n", story)
        return story

    async def test_a_unix_socket_is_removed_afterwards(self) -> None:
        opened = await self.listen(f"unix:{self.path}")
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(str(self.path))
        await opened.stopListening()
        self.assertFalse(self.path.exists())

    async def test_an_endpoint_string_for_tcp_works(self) -> None:
        opened = await self.listen("tcp:port=0:interface=127.0.0.1")
        self.assertEqual(opened.getHost().host, "127.0.0.1")

    async def test_a_unix_socket_in_use_is_refused(self) -> None:
        await self.listen(f"unix:{self.path}")
        self.assertIn("another program uses it", await self.refused(f"unix:{self.path}"))

    async def test_a_missing_directory_is_reported(self) -> None:
        self.assertIn(os.strerror(errno.ENOENT), await self.refused(f"unix:{self.path}/missing/etcd.sock"))

    async def test_a_socket_that_was_not_handed_over_is_reported(self) -> None:
        """Only a service manager can open such a socket."""
        for text in ("systemd:domain=INET:index=0", "systemd:domain=INET:name=clients"):
            self.assertIn("start it through its .socket unit", await self.refused(text))

    async def test_strings_that_are_no_endpoints_are_refused(self) -> None:
        """Each type of endpoint is refused in its own way."""
        for text in ("nonsense:a=b", "systemd:index=0", "systemd:domain=INET", "tcp:port=x=y", "unix:/x:mode=rw"):
            self.assertIn("is not an endpoint that can be listened on (", await self.refused(text))


class _RefusingReactor:
    """A reactor that refuses to open a port."""

    def __init__(self, code: int) -> None:
        self._code = code

    def listenTCP(self, port: int, _factory: object, backlog: int, interface: str) -> NoReturn:
        assert backlog > 1_000
        raise CannotListenError(interface, port, OSError(self._code, "refused"))


class ReasonTests(SynchronousTestCase):
    """Tests of reasons that can't be provoked on every machine."""

    def refused(self, code: int) -> str:
        place = ListenAddress(Address("127.0.0.1", 80), "--bind-addr", "--bind-addr")
        opening = ensureDeferred(listen(_RefusingReactor(code), place, Factory()))
        return str(self.failureResultOf(opening, StartError).value)

    def test_a_privileged_port_has_a_remedy(self) -> None:
        self.assertTrue(self.refused(errno.EACCES).endswith(": this user may not open it: choose a port above 1023"))

    def test_other_errors_are_reported_as_the_system_does(self) -> None:
        self.assertTrue(self.refused(errno.ENOBUFS).endswith(" can't be listened on: No buffer space available"))
