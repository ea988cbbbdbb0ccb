"""
The environment of a unit file for etcd 2 starts a cluster, unchanged but for the program's name.
"""

import re
import signal
import sys
import sysconfig
from collections.abc import Sequence
from pathlib import Path

from twisted.trial.unittest import TestCase

from etcd_twisted.testing.ports import free_ports
from tests.clients.test_etcdctl import ETCDCTL, PATIENT
from tests.etcd.machine import ETCD, MISSING
from tests.processes.child import ChildProcess, spawn
from tests.processes.client import Client
from tests.processes.cluster import together, until

UNIT = """\
[Unit]
Description=etcd
After=network.target

[Service]
Type=notify
Environment=ETCD_NAME={name}
Environment=ETCD_DATA_DIR={data}
Environment=ETCD_LISTEN_CLIENT_URLS={listen}
Environment=ETCD_ADVERTISE_CLIENT_URLS={client}
Environment=ETCD_LISTEN_PEER_URLS={peer}
Environment=ETCD_INITIAL_ADVERTISE_PEER_URLS={peer}
Environment=ETCD_INITIAL_CLUSTER={cluster}
Environment=ETCD_INITIAL_CLUSTER_STATE=new
Environment=ETCD_INITIAL_CLUSTER_TOKEN=etcd-cluster-1
Environment=ETCD_HEARTBEAT_INTERVAL=300
Environment=ETCD_ELECTION_TIMEOUT=3000
ExecStart=/usr/bin/etcd
Restart=always
LimitNOFILE=40000

[Install]
WantedBy=multi-user.target
"""

THEIRS = (str(ETCD), "--enable-v2", "--strict-reconfig-check=false")
"""
Debian's etcd, which serves version 2 of the API only if it is told to, and adds members only some time after one of
them was away, unless it is told not to look at that.
"""

OURS = (sys.executable, f"{sysconfig.get_path('scripts')}/twistd", "-n", "--pidfile=", "etcd", "--profile", "etcd2")


class UnitMachine:
    """
    A machine of a unit file.

    @ivar name: its name.
    @ivar directory: where it runs.
    @ivar client_url: where it tells clients to reach it; it listens there and at another address.
    @ivar peer_url: where other machines reach it.
    """

    child: ChildProcess

    def __init__(self, test: TestCase, program: Sequence[str], number: int) -> None:
        self.name = f"infra{number}"
        client, other, peer = free_ports(3)
        self.client_url, self.peer_url = f"http://127.0.0.1:{client}", f"http://127.0.0.1:{peer}"
        self.listens_at = [self.client_url, f"http://127.0.0.1:{other}"]
        self._test = test
        self._program = program
        self.directory = Path(test.mktemp()).resolve()
        self.directory.mkdir()

    def start(self, machines: "Sequence[UnitMachine]", **changes: str) -> None:
        """
        Starts the process as systemd would.

        @param changes: variables that have been given other values in its unit file.
        """
        cluster = ",".join(f"{each.name}={each.peer_url}" for each in machines)
        unit = UNIT.format(
            name=self.name,
            data=self.directory / "data",
            listen=",".join(self.listens_at),
            client=self.client_url,
            peer=self.peer_url,
            cluster=cluster,
        )
        environment = dict(re.findall("^Environment=(ETCD_[A-Z_]+)=(.*)$", unit, re.MULTILINE))
        self.child = spawn(self._test, self._program, self.directory, environment | changes)

    def connect(self, url: str | None = None) -> Client:
        """Returns a client of this machine, which the end of the test closes."""
        client = Client(url or self.client_url)
        self._test.addCleanup(client.close)
        return client

    async def when_healthy(self) -> None:
        """Returns when the machine serves and knows a leader."""
        client = self.connect()

        async def is_healthy() -> bool | None:
            if self.child.status is not None:
                raise RuntimeError(f"{self.name} has ended: {self.child.output}\n{self.child.errors}")
            return (await client.request("GET", "/health")).json().get("health") == "true" or None

        await until(is_healthy, f"{self.name} is healthy")

    async def kill(self) -> None:
        """Ends the process as C{kill -9} does."""
        self.child.signal(signal.SIGKILL)
        await self.child.when_ended()


class UnitTests(TestCase):
    timeout = 240

    if ETCDCTL is None:
        skip = "etcdctl is not installed (apt-get install etcd-client)"

    async def boot(self, program: Sequence[str]) -> None:
        """Has three machines begin a cluster in any order, one of them die and come back, and another one join."""
        machines = [UnitMachine(self, program, number) for number in range(3)]
        first, second, third = machines
        third.start(machines)
        first.start(machines)
        await together([first.when_healthy(), third.when_healthy()])
        second.start(machines)
        await second.when_healthy()
        await self.assert_members(machines)
        self.assertEqual((await second.connect().put("/message", value="Hello world")).status, 201)
        made = (await second.connect().post("/queue", value="first")).json()["node"]["key"]
        self.assertRegex(made, "^/queue/[0-9]{20}$")
        await second.kill()
        await third.when_healthy()
        await self.put(third, "/message", "Hello again")
        second.start(machines)
        await second.when_healthy()
        for url in second.listens_at:
            answer = await second.connect(url).get("/message", "?quorum=true")
            self.assertEqual(answer.json()["node"]["value"], "Hello again")
        await self.assert_members(machines)
        machines.append(await self.added(machines, program))
        await self.assert_members(machines)
        ids = [(await machine.connect().get("/")).headers.getRawHeaders("X-Etcd-Cluster-ID") for machine in machines]
        self.assertRegex(ids[0][0], "^[0-9a-f]{1,16}$")  # etcd writes no zeros before it
        self.assertEqual(ids, [ids[0]] * 4)

    async def added(self, machines: list[UnitMachine], program: Sequence[str]) -> UnitMachine:
        """Returns a machine that an operator has added, with the variables that C{etcdctl} has printed."""
        new = UnitMachine(self, program, len(machines))
        command = [
            str(ETCDCTL),
            "--endpoints",
            machines[0].client_url,
            *PATIENT,
            "member",
            "add",
            new.name,
            new.peer_url,
        ]
        child = spawn(self, command, new.directory, {"ETCDCTL_API": "2"})
        self.assertEqual((await child.when_ended(), child.errors), (0, ""))
        printed = dict(re.findall('^(ETCD_[A-Z_]+)="(.*)"$', child.output, re.MULTILINE))
        self.assertEqual((printed["ETCD_NAME"], printed["ETCD_INITIAL_CLUSTER_STATE"]), (new.name, "existing"))
        new.start([*machines, new], **printed)
        await new.when_healthy()
        return new

    async def put(self, machine: UnitMachine, key: str, value: str) -> None:
        """Sets a key that exists, again and again while another machine is elected."""
        client = machine.connect()

        async def done() -> bool | None:
            return (await client.put(key, value=value)).status == 200 or None

        await until(done, f"{key} is set")

    async def assert_members(self, machines: Sequence[UnitMachine]) -> None:
        """Waits until every machine lists all of them as they are in their unit files."""
        wanted = {each.name: ([each.peer_url], [each.client_url]) for each in machines}

        async def listed() -> bool:
            for machine in machines:
                members = (await machine.connect().request("GET", "/v2/members")).json()["members"]
                self.assertEqual({each["name"]: (each["peerURLs"], each["clientURLs"]) for each in members}, wanted)
                self.assertEqual(len({each["id"] for each in members}), len(machines))
            return True

        await until(listed, "all machines list all of them")

    async def test_etcd(self) -> None:
        """The unit file is one for etcd."""
        await self.boot(THEIRS)

    test_etcd.skip = MISSING  # type: ignore[attr-defined]

    async def test_machines_of_this_project(self) -> None:
        await self.boot(OURS)
