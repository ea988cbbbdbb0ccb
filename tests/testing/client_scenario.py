"""
Clients of a simulated cluster to which a lot happens, for comparing two runs.

C{python -m tests.testing.client_scenario SEED} prints a checksum of everything that has happened.
"""

import sys
from typing import Any

from twisted.internet.defer import ensureDeferred

from etcd_twisted.testing import SimulatedCluster, Weather


def run(seed: int) -> str:
    """Returns a checksum of everything that has happened, and the answers of clients."""
    answers: list[object] = []
    with SimulatedCluster(seed=seed) as cluster:
        cluster.start(3)
        http = cluster.http()
        cluster.network.weather = Weather(loss=0.05, late=0.1)

        async def ask(method: str, url: str, **options: Any) -> None:
            try:
                response = await http.request(method, url, allow_redirects=False, **options)
                answers.append((response.code, await response.content()))
            except Exception as error:
                answers.append(type(error).__name__)

        for step in range(3):
            for number in range(6):
                machine = cluster.machines[f"machine{number % 3}"]
                url = f"{machine.config.client_url}/v2/keys/{number}"
                ensureDeferred(ask("PUT", url, data={"value": str(step)}))
                ensureDeferred(ask("GET", f"{url}?wait=true"))
            cluster.advance(0.3)
            leader = cluster.leader()
            if leader is not None and step % 2:
                leader.crash()
                leader.start()
            elif leader is not None:
                cluster.partition([leader], ["clients"])
            cluster.advance(5)
            cluster.heal()
        cluster.advance(70)
        return f"{cluster.schedule.steps} {cluster.schedule.digest} {sorted(map(repr, answers))}"


if __name__ == "__main__":
    sys.stdout.write(run(int(sys.argv[1])))
