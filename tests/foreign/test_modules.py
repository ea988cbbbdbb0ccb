"""The modules of tooz, Salt and Ansible for etcd's version 2 API, through machines that do not lead."""

import json
from pathlib import Path
from typing import Any
from unittest import skipIf

from twisted.trial.unittest import TestCase

from tests.foreign.programs import MISSING, run, run_script
from tests.processes.cluster import Cluster


@skipIf(MISSING is not None, MISSING or "")
class ModulesTest(TestCase):
    """
    A cluster of three.

    @ivar follower: the machine that is asked.
    @ivar other: the one that does not lead either.
    """

    timeout = 120

    async def setUp(self) -> None:
        """Starts the machines."""
        cluster = Cluster(self, 3)
        await cluster.start()
        self.follower, self.other = await cluster.followers()

    async def put(self, key: str, value: str) -> None:
        """Sets a key through the machine that is asked, which shows it from then on."""
        self.assertEqual((await self.follower.client.put(key, value=value)).status, 201)


class ToozTests(ModulesTest):
    """Its driver C{etcd} has locks alone."""

    async def test_locks(self) -> None:
        """One user holds a lock and others wait for it, at the same machine and at the other one."""
        result = await run_script(self, "tooz_locks.py", str(self.follower.port), str(self.other.port))
        taken = {"free": True, "taken": False, "waits": True, "released": True, "waited": True}
        self.assertEqual(result["hand over"], taken | {"taken again": False, "broken": True, "free again": True})
        self.assertEqual(result["contended"], {"most": 1, "got": 20})


class SaltTests(ModulesTest):
    """A minion without a master, whose profile C{store} is a machine that does not lead."""

    async def setUp(self) -> None:
        """Writes the minion's configuration."""
        await super().setUp()
        self.directory = Path(self.mktemp()).resolve()
        self.directory.mkdir()
        profile = {"etcd.host": "127.0.0.1", "etcd.port": self.follower.port}
        configuration = {
            "id": "minion",
            "root_dir": str(self.directory),
            "file_client": "local",
            "store": profile,
            "secrets": {"driver": "etcd", **profile},
            "ext_pillar": [{"etcd": "store root=/salt/pillar/%(minion_id)s"}],
            "etcd.returner": "store",
            "etcd.returner_root": "/salt/return",
        }
        (self.directory / "minion").write_text(json.dumps(configuration))

    async def call(self, *calls: tuple[Any, ...]) -> list[Any]:
        """Returns what functions return that are called with these arguments, one after the other."""
        result: list[Any] = await run_script(self, "salt_calls.py", self.directory / "minion", json.dumps(calls))
        return result

    async def test_execution_state_and_secret_modules(self) -> None:
        """They set, get, list, watch and remove keys."""
        store = {"profile": "store"}
        state = {"name": "/app/e", "value": "5", "profile": "store"}
        results = await self.call(
            ("etcd.set", ["/app/a", "1"], store),
            ("etcd.set", ["/app/b", "2"], store | {"ttl": 100}),
            ("etcd.set", ["/app/dir", ""], store | {"directory": True}),
            ("etcd.get", ["/app/a"], store),
            ("etcd.update", [{"a": "3", "c": {"d": "4"}}, "/app"], store),
            ("etcd.ls", ["/app"], store),
            ("etcd.tree", ["/app"], store),
            ("etcd.watch", ["/app/a"], store | {"index": 7}),
            ("etcd.rm", ["/app/a"], store),
            ("etcd.get", ["/app/a"], store),
            ("state.single", ["etcd.set"], state),
            ("state.single", ["etcd.set"], state),
            ("sdb.set", ["sdb://secrets/salt/secret", "x"], {}),
            ("sdb.get", ["sdb://secrets/salt/secret"], {}),
        )
        self.assertEqual(results[:5], ["1", "2", True, "1", {"/app/a": "3", "/app/c/d": "4"}])
        self.assertEqual(results[5], {"/app": {"/app/a": "3", "/app/b": "2", "/app/c/": {}, "/app/dir/": {}}})
        self.assertEqual(results[6], {"a": "3", "b": "2", "c": {"d": "4"}, "dir": {}})
        self.assertEqual(results[7], {"key": "/app/a", "value": "3", "mIndex": 7, "changed": True, "dir": False})
        self.assertEqual(results[8:10], [True, None])
        changes = [change["changes"] for result in results[10:12] for change in result.values()]
        self.assertEqual(changes, [{"/app/e": "5"}, {}])
        self.assertEqual(results[12:], ["x", "x"])
        app = (await self.follower.client.get("/app", "?recursive=true&sorted=true")).json()["node"]
        self.assertEqual([node["key"] for node in app["nodes"]], ["/app/b", "/app/c", "/app/dir", "/app/e"])
        self.assertIn(app["nodes"][0]["ttl"], range(1, 101))

    async def test_pillar_and_returner(self) -> None:
        """The minion's pillar is read from a directory, and what a function returns is kept in another one."""
        await self.put("/salt/pillar/minion/role", "web")
        await self.put("/salt/pillar/minion/ports/http", "80")
        options = ("--local", "-c", self.directory, "--out", "json", "--return", "etcd")
        printed = json.loads(await run(self, "salt-call", *options, "pillar.items"))
        pillar = {"role": "web", "ports": {"http": "80"}}
        self.assertEqual(printed, {"local": pillar})
        last = (await self.follower.client.get("/salt/return/minions/minion")).json()["node"]["value"]
        kept = await self.follower.client.get(f"/salt/return/jobs/{last}/minion/return")
        self.assertEqual(json.loads(kept.json()["node"]["value"]), pillar)


class AnsibleTests(ModulesTest):
    async def test_lookup(self) -> None:
        """The lookup C{community.general.etcd} returns a value, a whole directory, and nothing for a missing key."""
        await self.put("/app/a", "one")
        await self.put("/app/dir/b", "two")
        lookup = f"lookup('community.general.etcd', 'app/a', 'app', 'none', url='{self.follower.url}', version='v2')"
        printed = await run(self, "ansible", "localhost", "-m", "debug", "-a", f'msg="{{{{ {lookup} }}}}"')
        result = json.loads(printed.removeprefix("localhost | SUCCESS => "))
        self.assertEqual(result, {"msg": ["one", {"a": "one", "dir": {"b": "two"}}, None]})
