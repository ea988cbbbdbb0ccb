"""What clients see of machines behind nginx and behind HAProxy."""

from tests.processes.cluster import until
from tests.proxies import clients
from tests.proxies.proxy import HaProxy, Nginx


class NginxTests(clients.ProxyTest):
    kind = Nginx
    skip = Nginx.missing()


class HaProxyTests(clients.ProxyTest):
    kind = HaProxy
    skip = HaProxy.missing()

    async def test_machines_without_a_leader_are_left_out(self) -> None:
        """The health check says that they do not serve; then HAProxy has nobody to ask."""
        await self.start()
        await self.assert_all_serve("all machines serve")
        for machine in self.cluster.machines[1:]:
            await machine.stop()

        async def nobody_serves() -> bool | None:
            answer = await self.plain.request("GET", "/v2/keys/")
            return (answer.status == 503 and b"No server is available" in answer.body) or None

        await until(nobody_serves, "HAProxy has left all machines out")
