"""
C{txetcdctl} and Debian's C{etcdctl}, with the version 2 API: each command does the same with the same server.
"""

import re
import signal
import sys
from pathlib import Path
from typing import Any

import attrs
import msgspec
from twisted.internet.defer import ensureDeferred, gatherResults

from tests.ctl.real_commands import RealCommandTest
from tests.etcd.machine import MISSING, EtcdMachine
from tests.etcd.test_etcdctl import ETCDCTL, KEYS, MEMBERS_OF_ONE, USERS, Outcome, Place
from tests.processes.client import Client
from tests.processes.machine import Machine

TXETCDCTL = str(Path(sys.executable).with_name("txetcdctl"))

# etcdctl promises that setdir sets the TTL of a directory that exists, but the API refuses what it sends then.
_SAME_KEYS = KEYS.replace("setdir /dir/sub\nsetdir /dir/sub\n", "setdir /dir/sub\n")

FORMATS = """
set /file/below x
-o json set --ttl 5000 /json x
-o json set /json y
-o json rm /json
-o json mkdir /json
-o json ls --recursive --sort
-o json rm --recursive /json
-o extended set /extended x
-o extended set --ttl 5000 /extended y
-o extended ls /
-o extended rm /extended
-o extended mkdir /extended
-o extended rmdir /extended
-o extended watch --after-index 1 /extended
watch --after-index {+1} --recursive /extended
--output simple set /dash -5
set -- /dash -6
set /piped <<< x
mk /piped/x <<< x
rm --dir --recursive /dash
ls /piped
ls -r -q -p /
get -q /none
rmdir /file
rm -r /file
"""

_MORE_USERS = """
user add 'a b:pw'
user add ben:p:w
user add ben:pw extra
user get
user get ben extra
user list extra
user passwd
role list extra
role add
role add one two
role add one
role get
role grant one
role grant one --path key --read
role grant one --path '*' --rw
role grant one --path '/a//b' --read
role grant one --path /a/../b --read
role grant one --path '/dir/*' --read --write
role grant --path '/dir/*' --rw one
role grant --path /dir/ --readwrite one
role grant --path '/a*b' --write one
role get one
role revoke --path /dir/ --read one
role revoke --path none --rw one
role revoke --path /none --rw one
role revoke --read one
role get one
user grant --roles one ben
user grant --roles none ben
user grant --roles none ben
user revoke --roles none ben
user revoke --roles '' ben
user revoke ben
user grant --roles root ben
user revoke --roles root ben
user get ben
role remove one
role get one
user remove ben
user remove ben
user bogus
auth enable extra
"""

_HIDDEN = ("user add alice:other", "user remove nobody")
"""
Commands with which etcdctl hides a mistake: it gives a user that exists another password; and C{user passwd nobody}
has made a user, who is there to be removed.
"""

_INDEX = re.compile(r"(?<=Index\":)\+\d+")
"""An index as its distance from the first, which is no JSON."""

_TTL = re.compile(r"(ttl\":|TTL: )4[89]\d\d\b")
"""What is left of a TTL of 5000 seconds after a while."""


def fields(line: str) -> Any:
    """Returns a line that is JSON as such, and any other as it is. Neither shows when keys expire exactly."""
    line = _TTL.sub(r"\g<1>5000", line)

    def timeless(value: Any) -> Any:
        if isinstance(value, list):
            return list(map(timeless, value))
        if isinstance(value, dict):
            return {name: timeless(each) for name, each in value.items() if name != "expiration"}
        return value

    return timeless(msgspec.json.decode(_INDEX.sub(r'"\g<0>"', line))) if line.startswith("{") else line


@attrs.frozen
class Shown:
    """
    What is compared of the outcome of a command.

    @ivar error: the line in which an error of the cluster is told. Wrong command lines are told in other words.
    """

    status: int
    output: list[Any]
    error: str


def shown(outcome: Outcome) -> Shown:
    """Returns what is compared."""
    lines = outcome.errors.splitlines()
    error = lines[0] if outcome.status == 4 else ""
    is_usage = outcome.status == 1 and outcome.output.startswith("Incorrect Usage")
    return Shown(outcome.status, [] if is_usage else list(map(fields, outcome.output.splitlines())), error)


class ToolTest(RealCommandTest):
    """A test in which each tool has a machine of its own, so that both find the same indexes."""

    timeout = 300
    if ETCDCTL is None:
        skip = "etcdctl is not installed (apt-get install etcd-client)"

    async def setUp(self) -> None:
        """Starts the machines."""
        self.places = [await self.place(tool) for tool in (str(ETCDCTL), TXETCDCTL)]
        for place in self.places:
            await place.begin()

    async def place(self, tool: str) -> Place:
        """Returns the place of one tool."""
        machine = Machine(self)
        await machine.embed()
        known = {machine.url: "client 1", f"http://127.0.0.1:{machine.peer_port}": "peer 1", "machine0": "id 1"}
        return Place(self, machine.directory, machine.url, machine.client, known, tool=tool)

    async def ours(self, line: str) -> Outcome:
        """Returns what a command of this project did."""
        return await self.places[1].run(line)

    async def assertSame(self, script: str) -> None:
        """Asserts that each command prints the same, and fails with the same error, unless etcdctl hides that."""
        refused = hidden = 0
        for line in script.strip().splitlines():
            theirs = await self.places[0].run(line)
            ours = await self.ours(line)
            if line in _HIDDEN and ours.status:
                self.assertEqual((theirs.status, ours.status), (0, 4), line)
                self.assertRegex(ours.errors, "^Error:  auth: User .* (already exists|does not exist)")
                hidden += 1
                continue
            self.assertEqual(bool(ours.status), bool(theirs.status), f"{line}\n{theirs}\n{ours}")
            output = re.sub(r"^(New password|Password): \r?\n?", "", theirs.output)
            if theirs.status == 0:
                self.assertEqual(ours.output, output, f"{line}\n{theirs}\n{ours}")
            elif ours.status == 4:
                refused += 1
                if theirs.errors.startswith("auth: ") and line != "user add alice: <<< third":
                    self.assertIn(theirs.errors.strip(), ours.errors, line)
        self.assertGreater(refused, 2)
        self.assertEqual(hidden, len(_HIDDEN) if "user" in script else 0)


class ToolTests(ToolTest):
    """Keys, members and watches."""

    async def assertAlike(self, script: str, refusals: int) -> None:
        """Asserts that each command does the same, and that the cluster refuses more of them than a number."""
        refused = 0
        for line in script.strip().splitlines():
            running = [ensureDeferred(place.run(line)) for place in self.places]
            theirs, ours = map(shown, await gatherResults(running))
            refused += theirs.status == 4
            self.assertEqual(ours, theirs, line)
        self.assertGreater(refused, refusals)

    async def test_keys(self) -> None:
        """C{set get mk mkdir rm rmdir ls update updatedir setdir watch}, and wrong command lines."""
        await self.assertAlike(_SAME_KEYS, 18)

    async def test_formats(self) -> None:
        """The same commands in every format, and with options spelt in other ways."""
        await self.assertAlike(FORMATS, 2)

    async def test_members(self) -> None:
        """C{member} and C{cluster-health}."""
        await self.assertSame(MEMBERS_OF_ONE)

    async def test_watches(self) -> None:
        """C{watch} ends with the first change or goes on, and C{exec-watch} tells a command of each."""
        outcomes = []
        command = "env | grep ^ETCD_WATCH | sort; echo $ETCD_WATCH_ACTION is shown"
        for place in self.places:
            once = place.start("watch --recursive /dir")
            await place.when_watched()
            await place.run("set /dir/key 'Hello world'")
            await once.when_ended()
            for_ever = place.start("watch --forever --after-index {+0} /dir/key")
            await for_ever.when_printed("Hello world\n")
            await place.run("set /dir/key 'Hello etcd'")
            await for_ever.when_printed("Hello etcd\n")
            for_ever.signal(signal.SIGKILL)
            await for_ever.when_ended()
            executing = place.start(f"exec-watch --after-index={{+1}} --recursive /dir -- sh -c '{command}'")
            await executing.when_printed("set is shown\n")
            await place.run("rm /dir/key")
            await executing.when_printed("delete is shown\n")
            seen = [once.status, once.output, once.errors, for_ever.output, for_ever.errors]
            outcomes.append([*seen, place.plain(executing.output), executing.errors])
        self.assertEqual(outcomes[1], outcomes[0], outcomes)


class UserTests(ToolTest):
    """Users and roles, with machines of this project."""

    async def ours(self, line: str) -> Outcome:
        """Returns what a command of this project did, within this process, as that is less work by far."""
        command, typed = self.places[1].command(line)
        outcome = await self.type(*command[1:], stdin=typed.encode())
        plain = self.places[1].plain
        return Outcome(outcome.status, plain(outcome.output), plain(outcome.errors))

    async def test_users_and_roles(self) -> None:
        """C{user role auth}, and what users may do then."""
        await self.assertSame(_MORE_USERS.rstrip() + USERS)


class EtcdUserTests(UserTests):
    """Users and roles, with machines of etcd."""

    if MISSING is not None:
        skip = MISSING

    async def place(self, tool: str) -> Place:
        """Returns the place of one tool."""
        machine = EtcdMachine(self, "machine0")
        await machine.start()
        client = Client(machine.url)
        self.addCleanup(client.close)
        (member,) = (await client.request("GET", "/v2/members")).json()["members"]
        known = {machine.url: "client 1", machine.peer_url: "peer 1", member["id"]: "id 1"}
        return Place(self, machine.data.parent, machine.url, client, known, tool=tool)
