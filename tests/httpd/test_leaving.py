"""
Clients that go away, with real connections: the server notices, whatever they sent before.
"""

import socket
import struct
from typing import Any

from twisted.internet.defer import Deferred

from etcd_twisted.httpd import lifetime
from etcd_twisted.keyspace.watchers import Watcher
from etcd_twisted.net.sockets import has_gone
from tests.wires import GET, WATCH, ServedTest, put

RARE_WATCH = WATCH[:-2] + b"Connection: keep-alive, other\r\n\r\n"
"""A watch that the ordinary door serves."""

MANY = 1_000
MUCH = GET * MANY
"""More bytes than the server reads ahead while a request waits."""


class LeavingTests(ServedTest):
    """These clients watch, and then go."""

    async def leaves(self, watch: bytes, behind: bytes, reset: bool) -> None:
        """
        Makes a client watch, send the bytes C{behind}, and go. Returns when the server has forgotten the watcher.
        """
        hub, gone = self.replica.keyspace.hub, Deferred[None]()
        forget = hub.forget

        def forgotten(watcher: Watcher) -> None:
            forget(watcher)
            if watcher.counted:
                gone.callback(None)

        forgetting = self.patch(hub, "forget", forgotten)
        client = await self.connect()
        client.send(watch)
        await client.when_ends_with(b"\r\n\r\n")
        self.assertEqual(hub.count, 1)
        client.send(behind)
        handle = client.transport.getHandle()
        if reset:
            handle.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        client.transport.loseConnection()
        await gone
        self.assertEqual(hub.count, 0)
        await client.when_closed()
        forgetting.restore()

    async def test_a_watch_ends_when_its_client_goes(self) -> None:
        """The watch ends however much the client sent behind it, by either door (spec, "Watch")."""
        for watch in (WATCH, RARE_WATCH):
            for behind in (b"", GET, MUCH):
                for reset in (False, True):
                    await self.leaves(watch, behind, reset)

    async def test_a_watcher_that_stays_gets_all_responses(self) -> None:
        """It gets them however much it sent behind the watch."""
        for watch in (WATCH, RARE_WATCH):
            looked = Deferred[bool]()

            def look(transport: Any, looked: "Deferred[bool]" = looked) -> bool:
                gone = has_gone(transport)
                if not looked.called:
                    looked.callback(gone)
                return gone

            looking = self.patch(lifetime, "has_gone", look)
            client, writer = await self.connect(), await self.connect()
            client.send(watch)
            await client.when_ends_with(b"\r\n\r\n")
            client.send(MUCH)
            self.assertFalse(await looked)
            writer.send(put("v"))
            await client.when(lambda client=client: client.data.count(b"HTTP/1.1 200 ") == 1 + MANY)
            looking.restore()
