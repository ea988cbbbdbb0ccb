"""
Tests of the metrics of a real cluster, against what was done to it.
"""

import re

from prometheus_client.parser import text_string_to_metric_families
from twisted.trial.unittest import TestCase

from tests.deploy.test_grafana import expressions
from tests.deploy.test_prometheus import RULES
from tests.processes.cluster import Cluster, Member, until

WRITES = 30

Values = dict[str, float]
"""The values on a page, by the name and the labels of each line."""


class MetricsTests(TestCase):
    """Tests with three machines."""

    timeout = 240

    async def setUp(self) -> None:
        self.cluster = Cluster(self, 3, "--follower-requests", "redirect")
        await self.cluster.start()

    async def values(self, machine: Member) -> Values:
        answer = await machine.client.request("GET", "/metrics")
        self.assertEqual(answer.status, 200)
        values: Values = {}
        for family in text_string_to_metric_families(answer.body.decode()):
            for sample in family.samples:
                labels = ",".join(f'{name}="{value}"' for name, value in sorted(sample.labels.items()))
                values[f"{sample.name}{{{labels}}}" if labels else sample.name] = sample.value
        return values

    async def test_load_is_counted(self) -> None:
        """Writes are counted where they are made, answered, synced and sent."""
        leader, followers = await self.cluster.leader(), await self.cluster.followers()
        before = {machine: await self.values(machine) for machine in self.cluster.machines}
        for number in range(WRITES):
            self.assertEqual((await leader.client.put(f"/k{number}", value="x" * 1_000)).status, 201)
        self.assertEqual((await followers[0].client.put("/k", value="v")).status, 307)
        await self.cluster.converge()
        grown = {}
        for machine in self.cluster.machines:
            after = await self.values(machine)
            grown[machine] = {name: after[name] - before[machine].get(name, 0.0) for name in after}
        for machine, values in grown.items():
            self.assertEqual(values['etcd_debugging_store_writes_total{action="set"}'], WRITES, machine.name)
            self.assertGreaterEqual(values["etcd_server_proposals_committed_total"], WRITES)
            syncs = values["etcd_disk_wal_fsync_duration_seconds_count"]
            self.assertGreater(syncs, 0)
            self.assertLess(values["etcd_disk_wal_fsync_duration_seconds_sum"], 10.0 * syncs)
            self.assertGreater(values["etcd_twisted_wal_size_bytes"], WRITES * 1_000)
        led = grown[leader]
        self.assertEqual(led['etcd_twisted_http_requests_total{code="2xx",method="PUT"}'], WRITES)
        self.assertEqual(grown[followers[0]]['etcd_twisted_http_requests_total{code="3xx",method="PUT"}'], 1)
        self.assertGreater(led["etcd_twisted_server_commit_duration_seconds_count"], 0)
        self.assertEqual(led["etcd_server_proposals_failed_total"], 0)
        for follower in followers:
            self.assertGreater(led[f'etcd_network_peer_sent_bytes_total{{To="{follower.name}"}}'], WRITES * 1_000)
            received = f'etcd_network_peer_received_bytes_total{{From="{leader.name}"}}'
            self.assertGreater(grown[follower][received], WRITES * 1_000)
            self.assertEqual(grown[follower]["etcd_twisted_server_commit_duration_seconds_count"], 0)

    async def test_metrics_of_shipped_files_exist(self) -> None:
        """Every metric that the shipped alerts and the dashboard use is there on each machine that was used."""
        leader = await self.cluster.leader()
        self.assertEqual((await leader.client.put("/k", value="v")).status, 201)
        for machine in self.cluster.machines:
            self.assertEqual((await machine.client.get("/none")).status, 404)
        rules = re.findall(r"expr: (.*?)\n +(?:for|labels):", RULES.read_text(), re.DOTALL)
        self.assertEqual(len(rules), RULES.read_text().count("- alert: "))
        asked = set(re.findall(r"\b(?:etcd|process)_\w+", " ".join([*rules, *expressions()])))
        self.assertGreater(len(asked), 20)

        async def served(machine: Member) -> bool | None:
            values = await self.values(machine)
            return asked <= {line.partition("{")[0] for line in values} or None

        for machine in self.cluster.machines:
            await until(lambda machine=machine: served(machine), f"{machine.name} has all of {sorted(asked)}")

    async def test_new_leader_is_counted(self) -> None:
        """The machines that are left count one change of leader, and one of them is the new leader."""
        leader, followers = await self.cluster.leader(), await self.cluster.followers()
        before = [await self.values(machine) for machine in followers]
        self.assertEqual([values["etcd_server_is_leader"] for values in before], [0, 0])
        await leader.kill()

        async def settled() -> list[Values] | None:
            after = [await self.values(machine) for machine in followers]
            # A machine that has not noticed the loss yet still knows the old leader.
            term = "etcd_twisted_server_raft_term"
            known = all(
                later["etcd_server_has_leader"] and later[term] > earlier[term]
                for earlier, later in zip(before, after, strict=True)
            )
            return after if known and sum(values["etcd_server_is_leader"] for values in after) == 1 else None

        after = await until(settled, "there is a new leader")
        for earlier, later in zip(before, after, strict=True):
            name = "etcd_server_leader_changes_seen_total"
            self.assertGreaterEqual(later[name], earlier[name] + 1)
            self.assertGreater(later["etcd_twisted_server_raft_term"], earlier["etcd_twisted_server_raft_term"])
