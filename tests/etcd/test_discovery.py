"""etcd itself, and machines of this project, find each other by the discovery service of a machine."""

from typing import cast
from unittest import skipIf

from twisted.internet import reactor
from twisted.internet.interfaces import IReactorTime
from twisted.trial.unittest import TestCase

from etcd_twisted.client import Client
from tests.etcd.machine import MISSING, EtcdMachine
from tests.processes.cluster import Member, together, until
from tests.processes.machine import Machine


class DiscoveryTests(TestCase):
    timeout = 240

    async def setUp(self) -> None:
        self.service = Machine(self, "directory")
        await self.service.embed()

    async def token(self, query: str = "") -> str:
        """Returns the URL of a new token."""
        answer = await self.service.client.request("GET", f"/discovery/new{query}")
        self.assertEqual(answer.status, 200)
        return answer.body.decode()

    async def registered(self, token: str) -> list[str]:
        """Returns the values that machines have registered below a token."""
        path = token.removeprefix(self.service.url)
        answer = (await self.service.client.request("GET", path)).json()
        return sorted(node["value"] for node in answer["node"].get("nodes", ()))

    @skipIf(MISSING is not None, MISSING or "")
    async def test_three_machines_of_etcd(self) -> None:
        """
        They make one cluster. A fourth one with the same token learns that the cluster is full, and is a proxy of it,
        as etcd has it.
        """
        token = await self.token("?size=3")
        machines = [EtcdMachine(self, f"machine{number}") for number in range(3)]
        for machine in machines:
            machine.discovery = token
        await together(machine.start() for machine in machines)
        client = Client(machines[0].url, reactor=cast(IReactorTime, reactor))
        self.addCleanup(client.close)
        members = {member.name: member.peer_urls for member in await client.members()}
        self.assertEqual(members, {machine.name: (machine.peer_url,) for machine in machines})
        self.assertEqual(await self.registered(token), [f"{each.name}={each.peer_url}" for each in machines])
        fourth = EtcdMachine(self, "machine3")
        fourth.discovery = token
        await fourth.start()
        await client.set("/key", "1")
        proxied = Client(fourth.url, reactor=cast(IReactorTime, reactor))
        self.addCleanup(proxied.close)
        self.assertEqual((await proxied.get("/key", quorum=True)).node.value, "1")
        self.assertIn("falling back to proxy", fourth.child.errors)
        self.assertEqual(len(await client.members()), 3)

    @skipIf(MISSING is not None, MISSING or "")
    async def test_etcd_waits_for_the_others(self) -> None:
        """One of two machines registers and serves nobody, until the other comes: it watches the token."""
        token = await self.token("?size=2")
        first, second = EtcdMachine(self, "machine0"), EtcdMachine(self, "machine1")
        first.discovery = second.discovery = token

        async def registers() -> bool | None:
            return await self.registered(token) == [f"machine0={first.peer_url}"] or None

        async def start_second() -> None:
            await until(registers, "the first machine registers")
            await self.service.when_watched(1)
            await second.start()

        await together([first.start(), start_second()])

    async def test_machines_of_this_project(self) -> None:
        """They use the token as their directory, whatever its size."""
        token = await self.token("?size=5")
        machines = [Member(self, f"machine{number}", "--discovery", token) for number in range(3)]
        await together(machine.start() for machine in machines)

        async def all_listed() -> bool | None:
            listed = (await machines[0].user.request("GET", "/v2/machines")).body.decode().split(", ")
            return sorted(listed) == sorted(machine.url for machine in machines) or None

        await until(all_listed, "all machines are in one cluster")
        self.assertEqual(await self.registered(token), sorted(machine.peer_url for machine in machines))
