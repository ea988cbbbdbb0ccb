"""
Debian's etcdctl, with the version 2 API: each command does with a machine of this project what it does with one of
etcd.

A script is a list of commands, one a line as a person would type it. It is run twice, and has to give the same output,
errors and exit status. Before they are compared, indexes become their distance from that of the first key, and what
tells machines apart becomes its label (see L{tests.conformance.etcd2.labels}).
"""

import re
import shlex
import shutil
from pathlib import Path
from typing import Any

import attrs
import msgspec
from twisted.trial.unittest import TestCase

from tests.conformance.etcd2 import labels
from tests.etcd.machine import MISSING, start_cluster
from tests.processes.child import ChildProcess, spawn
from tests.processes.client import Client
from tests.processes.cluster import Cluster, until

ETCDCTL = shutil.which("etcdctl")

LONG = ("--timeout", "60s", "--total-timeout", "120s")
"""Timeouts for its requests, since its own 2 and 5 seconds are too short on a busy computer."""

FARTHEST = 60
"""The greatest distance of an index; error codes are greater than all indexes."""

KEYS = """
set /message 'Hello world'
get /message
get --quorum /message
get --sort /message
-o extended get /message
-o json get /message
mk /other new
mk /other newer
mk --in-order /queue a
mk --in-order /queue b
ls --sort /queue
-o json ls --sort /queue
update /message 'Hello etcd'
update /none x
set --swap-with-value 'Hello etcd' /message swapped
set --swap-with-value wrong /message swapped
set --swap-with-index {+6} /message again
set --swap-with-index {+1} /message again
rm --with-value wrong /message
rm --with-index {+1} /message
rm --with-value again /message
rm /message
get /message
get /
ls /none
mkdir /dir
mkdir /dir
set /dir x
get /dir
setdir /dir/sub
setdir /dir/sub
updatedir --ttl 5000 /dir/sub
updatedir /none
set /dir/sub/key 'a b'
set --ttl 5000 /dir/leased x
set --ttl soon /dir/leased x
ls --sort
ls --sort -p /
ls --recursive --sort -p /dir
rm /dir
rm --dir /dir
rmdir /dir
rmdir /other
rmdir /none
rm --recursive /dir
rm --recursive /none
rm --recursive /
ls --sort
set /file/below x
set /file/below/more x
set
get
exec-watch
watch --after-index 1 /file/below
-o json watch --after-index 1 /file/below
watch --recursive --after-index {+1} /queue
"""


USERS = """
set /shared/a zero
user list
role list
user get root
role get root
auth enable
auth disable
user add root:pw
user add alice <<< secret
user add alice:other
user add alice: <<< third
user add bob
user add
user get alice
user get nobody
user list
role add reader
role add reader
role add writer
role add root
role get reader
role get nothing
role grant reader --path '/shared/*' --read
role grant reader --path '/shared/*' --read
role grant reader --path /one --read
role grant reader --path /one
role grant writer --path '/shared/*' --readwrite
role grant nothing --path '/*' --read
role grant root --path '/*' --read
role revoke reader --path /one --write
role revoke reader --path /one --read
role get reader
role get writer
role remove nothing
role remove root
user grant alice --roles reader
user grant alice --roles reader
user grant alice
user grant nobody --roles reader
user revoke alice --roles writer
user grant alice --roles writer
user revoke alice --roles writer
user get alice
user passwd alice <<< fourth
user passwd nobody <<< fourth
user remove nobody
auth enable
auth enable
user list
--username root:pw auth enable
--username root:pw user list
--username root user list <<< pw
--username root:wrong user list
--username alice:fourth user list
--username alice:fourth get /shared/a
--username alice:fourth set /shared/a one
--username alice:secret get /shared/a
--username nobody:x get /shared/a
--username root:pw set /shared/a one
--username alice:fourth get /shared/a
--username alice:fourth ls --recursive /shared
--username alice:fourth ls /
set /guest one
get /guest
--username root:pw role revoke guest --path '/*' --readwrite
--username root:pw role get guest
get /guest
--username root:pw user grant alice --roles writer
--username alice:fourth mk /shared/b two
--username alice:fourth mkdir /shared/dir
--username alice:fourth rmdir /shared/dir
--username alice:fourth rm /shared/b
--username alice:fourth mk --in-order /shared/jobs x
--username alice:fourth mk /other x
--username root:pw user remove root
--username root:pw role remove writer
--username root:pw user remove alice
--username alice:fourth get /shared/a
auth disable
--username root:pw auth disable
get /shared/a
user remove root
auth enable
"""

MEMBERS_OF_ONE = """
member list
cluster-health
member add
member add new {peer 1}
member add new nonsense
member update {id 1} nonsense
member update {id 1} {peer 1}
member remove abc
member list
"""

MEMBERS = """
member list
cluster-health
member add
member add new
member add new {peer 3}
member add new nonsense
member add new http://127.0.0.1
member update
member update abc http://127.0.0.1:65009
member update {id 1} {peer 3}
member update {id 3} nonsense
member update {id 3} {peer 3}
member remove
member remove abc
member add new http://127.0.0.1:65009
member list
member update {new} http://127.0.0.1:65010
member list
member remove {new}
member remove {new}
member list
cluster-health
member remove {id 3}
member remove {id 3}
member list
"""

RULINGS = {"get /": (": is a directory\n", "/: is a directory\n")}
"""What etcd has the tool print as an error, and what this project does: etcd leaves out the key of the root."""


@attrs.frozen
class Outcome:
    """What a command did."""

    status: int
    output: str
    errors: str


@attrs.define
class Place:
    """
    A cluster that is asked through one of its machines.

    @ivar url: the client URL of that machine.
    @ivar known: what tells the machines apart.
    @ivar first: the index of the first key, or more than any other before that is written.
    @ivar tool: the program that asks it.
    """

    test: TestCase
    directory: Path
    url: str
    client: Client
    known: dict[str, str]
    first: int = 1_000_000
    tool: str = str(ETCDCTL)

    def command(self, arguments: str) -> tuple[list[str], str]:
        """
        Returns a command, and what is typed.

        @param arguments: what follows the name of the tool; after C{<<<}, what is typed when it asks for a password.
        """
        for value, label in self.known.items():
            arguments = arguments.replace("{" + label + "}", value)
        arguments, _, typed = arguments.partition(" <<< ")
        filled = re.sub(r"\{\+(\d+)\}", lambda found: str(self.first + int(found[1])), arguments)
        return [self.tool, "--no-sync", "--endpoints", self.url, *LONG, *shlex.split(filled)], f"{typed}\n"

    def start(self, arguments: str) -> ChildProcess:
        """Starts a command; see L{command}."""
        command, typed = self.command(arguments)
        child = spawn(self.test, command, self.directory, {"ETCDCTL_API": "2"})
        child.transport.write(typed.encode())
        child.transport.closeStdin()
        return child

    async def run(self, arguments: str) -> Outcome:
        """Returns what a command did when it has ended."""
        child = self.start(arguments)
        outcome = Outcome(await child.when_ended(), self.plain(child.output), self.plain(child.errors))
        if arguments.startswith("member add"):
            members = (await self.client.request("GET", "/v2/members")).json()["members"]
            self.known |= {each["id"]: "new" for each in members if each["id"] not in self.known}
            outcome = attrs.evolve(outcome, output=self.plain(outcome.output))
        if arguments in {"member list", "cluster-health"}:
            return attrs.evolve(outcome, output="".join(sorted(outcome.output.splitlines(keepends=True))))
        return outcome

    def plain(self, text: str) -> str:
        """Returns a text without what has to differ."""
        for value, label in self.known.items():
            text = text.replace(value, f"<{label}>").replace(value.removeprefix("http://"), f"<host of {label}>")
        text = re.sub(r"(?<=CLUSTER=\").*(?=\")", lambda found: ",".join(sorted(found[0].split(","))), text)
        return re.sub(r"\b(0{10,})?(\d+)\b", self._distance, text)

    def _distance(self, found: re.Match[str]) -> str:
        number = int(found[2])
        if not self.first <= number <= self.first + FARTHEST:
            return found[0]
        return f"{'padded ' if found[1] else ''}+{number - self.first}"

    async def begin(self) -> None:
        """Writes the first key."""
        child = self.start("-o json set /first x")
        self.test.assertEqual((await child.when_ended(), child.errors), (0, ""))
        self.first = msgspec.json.decode(child.output)["node"]["modifiedIndex"]

    async def when_unhealthy(self) -> None:
        """Waits until the machine says that it is not healthy."""

        async def unhealthy() -> bool | None:
            return (await self.client.request("GET", "/health")).status == 503 or None

        await until(unhealthy, "the machine is not healthy")

    async def when_watched(self) -> None:
        """Waits until the machine has a watcher."""

        async def watched() -> bool | None:
            return (await self.client.request("GET", "/v2/stats/store")).json()["watchers"] == 1 or None

        await until(watched, "there is a watcher")


class OneMachineTests(TestCase):
    """
    One machine is asked.

    @cvar size: how many machines a cluster has.
    @cvar asked: which one of them is asked; the first one leads.
    """

    timeout = 240
    size = 1
    asked = 1
    if ETCDCTL is None:
        skip: str | None = "etcdctl is not installed (apt-get install etcd-client)"
    else:
        skip = MISSING

    async def setUp(self) -> None:
        cluster = Cluster(self, self.size, "--profile", "etcd2")
        await cluster.start()
        self.machines: list[Any] = [await start_cluster(self, self.size), cluster.machines]
        self.places = [await self.place([machine.url for machine in machines]) for machines in self.machines]

    async def place(self, urls: list[str]) -> Place:
        """Returns the place of a cluster."""
        client = self.connect(urls[0])

        async def described() -> dict[str, str] | None:
            members: list[dict[str, Any]] = (await client.request("GET", "/v2/members")).json()["members"]
            leader = (await client.request("GET", "/v2/members/leader")).json()
            named = all(each["name"] and each["clientURLs"] for each in members)
            return labels(members, leader) if named and len(members) == self.size else None

        known = await until(described, "the machine knows the others")
        (url,) = [value for value, label in known.items() if label == f"client {self.asked}"]
        directory = Path(self.mktemp()).resolve()
        directory.mkdir()
        return Place(self, directory, url, self.connect(url), known)

    def connect(self, url: str) -> Client:
        client = Client(url)
        self.addCleanup(client.close)
        return client

    async def assertSame(self, script: str) -> None:
        """Asserts that every command of a script does the same in both places."""
        for place in self.places:
            await place.begin()
        for line in script.strip().splitlines():
            wanted, got = [await place.run(line) for place in self.places]
            if line in RULINGS:
                theirs, ours = RULINGS[line]
                self.assertEqual(wanted.errors, theirs)
                wanted = attrs.evolve(wanted, errors=ours)
            self.assertEqual(got, wanted, line)

    async def test_members(self) -> None:
        """C{member} and C{cluster-health}."""
        await self.assertSame(MEMBERS_OF_ONE if self.size == 1 else MEMBERS)

    async def test_users_and_roles(self) -> None:
        """C{user role auth}, and what users may do then."""
        await self.assertSame(USERS)

    async def test_keys_and_directories(self) -> None:
        """C{set get mk mkdir rm rmdir ls update updatedir setdir watch}."""
        await self.assertSame(KEYS)

    async def test_watch(self) -> None:
        """C{watch} prints the next event and ends, or goes on for ever."""
        shown = []
        for place in self.places:
            await place.begin()
            once = place.start("watch --recursive /dir")
            await place.when_watched()
            await place.run("set /dir/key 'Hello world'")
            await once.when_ended()
            for_ever = place.start("watch --forever --after-index {+0} /dir/key")
            await for_ever.when_printed("Hello world\n")
            await place.run("set /dir/key 'Hello etcd'")
            await for_ever.when_printed("Hello etcd\n")
            shown.append([once.status, once.output, once.errors, for_ever.output, for_ever.errors])
        self.assertEqual(shown[1], shown[0])

    async def test_exec_watch(self) -> None:
        """C{exec-watch} runs a command for every event, and tells it of the event."""
        shown = []
        command = "env | grep ^ETCD_WATCH | sort; echo $ETCD_WATCH_ACTION is shown"
        for place in self.places:
            await place.begin()
            watching = place.start(f"exec-watch --after-index={{+0}} --recursive /dir -- sh -c '{command}'")
            for action, change in (
                ("set", "set /dir/key one"),
                ("update", "update /dir/key two"),
                ("delete", "rm /dir/key"),
            ):
                await place.run(change)
                await watching.when_printed(f"{action} is shown\n")
            shown.append([place.plain(watching.output), watching.errors])
        self.assertEqual(shown[1], shown[0])


class FollowerTests(OneMachineTests):
    """A machine is asked that follows."""

    size = 3
    asked = 2

    async def test_health_of_a_cluster_without_a_machine(self) -> None:
        """C{cluster-health} with one machine dead, and with two."""
        shown = []
        for place, machines in zip(self.places, self.machines, strict=True):
            labelled = {place.known[each.url]: each for each in machines}
            await labelled["client 3"].kill()
            health = [await place.run("cluster-health")]
            await labelled["client 1"].kill()
            await place.when_unhealthy()
            health.append(await place.run("cluster-health"))
            shown.append(health)
        for theirs, ours in zip(*shown, strict=True):
            self.assertEqual(ours, theirs)
