"""
treq, the client that Twisted's programs use: what C{docs/api.md} says of it and redirects.
"""

from typing import Any

import treq
from twisted.internet import reactor
from twisted.web.client import Agent, HTTPConnectionPool, ResponseFailed
from twisted.web.error import PageRedirect

from etcd_twisted.config import Config
from etcd_twisted.config.addresses import Address
from etcd_twisted.interfaces.cluster import Machine
from etcd_twisted.testing.replica import FakeReplica
from etcd_twisted.web.frontend import HttpFrontend
from tests.docs.pages import blocks
from tests.processes.child import SOURCE
from tests.wires import ServedTest


class RedirectTests(ServedTest):
    """A client sends a write to a follower that redirects."""

    settings = {"follower_requests": "redirect"}  # noqa: RUF012  # as in the base

    async def setUp(self) -> None:
        """Starts one follower and one leader."""
        await super().setUp()
        self.leader = FakeReplica(reactor)
        self.addCleanup(self.leader.stop)
        service = HttpFrontend().service(reactor, Config(bind_addr=Address("127.0.0.1", 0)), {}, self.leader)
        self.addCleanup(service.stopService)
        await service.startService()
        url = f"http://127.0.0.1:{service.getHost().port}"
        self.replica.follow(Machine("machine1", url, "http://127.0.0.1:7002"))
        self.url = f"http://127.0.0.1:{self.port}/v2/keys/k"

    async def test_write_is_not_redirected(self) -> None:
        """treq follows a 307 only for C{GET} (spec, "Redirects")."""
        settings: list[dict[str, Any]] = [{}, {"browser_like_redirects": True}]
        for each in settings:
            sent = treq.put(self.url, data={"value": "v"}, agent=Agent(reactor), **each)
            failed = await self.assertFailure(sent, ResponseFailed)
            (reason,) = failed.reasons
            self.assertIsInstance(reason.value, PageRedirect)
            self.assertEqual(reason.value.status, b"307")
        self.assertEqual((self.replica.proposed, self.leader.proposed), ([], []))

    async def test_documented_write_is_redirected(self) -> None:
        """The page shows a way to write that follows redirects (spec, "Redirects")."""
        pool = HTTPConnectionPool(reactor, persistent=False)
        (code,) = blocks(SOURCE / "docs" / "api.md", "python")
        names: dict[str, Any] = {}
        exec(code, names)
        response = await names["put"](self.url, pool=pool, value="v")
        self.assertEqual((response.code, (await treq.json_content(response))["node"]["value"]), (201, "v"))
        self.assertEqual((len(self.replica.proposed), len(self.leader.proposed)), (0, 1))
