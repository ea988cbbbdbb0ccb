"""What is recorded from etcd is what it answers."""

from tests.conformance.cases import ConformanceTest, add_test
from tests.conformance.etcd2 import TOPICS, Etcd2Player, recorded
from tests.etcd.machine import MISSING, EtcdMachine


class RecordedTests(ConformanceTest):
    skip = MISSING
    player = Etcd2Player

    async def served(self) -> str:
        machine = EtcdMachine(self, "machine0")
        await machine.start()
        return machine.url


for topic in TOPICS:
    for name, (scenario, answers) in recorded(topic).items():
        add_test(RecordedTests, scenario, answers, f"The scenario {name}.")
