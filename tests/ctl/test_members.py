"""
Which machine is meant by C{member remove}, C{member update} and C{machines}, in clusters that a test makes up.
"""

from types import SimpleNamespace
from typing import Any

from twisted.internet.defer import ensureDeferred

from etcd_twisted.client import Machine
from etcd_twisted.ctl.session import Action
from etcd_twisted.ctl.settings import Settings
from tests.ctl.commands import CommandTest


class ChosenMemberTests(CommandTest):
    """C{same} is the name of two machines, C{b2} the id of one and the name of another, and one has not started."""

    def setUp(self) -> None:
        super().setUp()
        self.changed: list[str] = []
        names = (("a1", "same"), ("b2", "same"), ("c3", "b2"), ("d4", ""), ("e5", "other"))
        self.machines = tuple(Machine(id_, name, (), ("http://127.0.0.1:7001",)) for id_, name in names)

    def run_action(self, _: Settings, action: Action[Any]) -> Any:
        """Returns what an action returns."""

        async def members() -> tuple[Machine, ...]:
            return self.machines

        async def change(id_: str, *_: object) -> None:
            self.changed.append(id_)

        admin = SimpleNamespace(remove_member=change, update_member=change)
        client: Any = SimpleNamespace(members=members, admin=admin)
        return self.machine.result_of(ensureDeferred(action(client)))

    def test_one_machine_is_meant(self) -> None:
        """An id goes before a name."""
        for given, id_ in (("a1", "a1"), ("b2", "b2"), ("d4", "d4"), ("other", "e5")):
            self.assertEqual(self.printed("member", "remove", given), f"Removed member {id_} from cluster\n")
            self.printed("member", "update", given, "http://127.0.0.1:7002")
            self.assertEqual(self.changed[-2:], [id_, id_])

    def test_no_machine_or_several_are_meant(self) -> None:
        """An empty ID, as of a variable of a shell that is not set, does not mean a machine that has not started."""
        for given, count in (("", "no machine of the cluster has"), ("same", "2 machines of the cluster have")):
            message = f"{count} the id or the name {given!r}"
            self.assertFails(4, message, "member", "remove", given)
            self.assertFails(4, message, "member", "update", given, "http://127.0.0.1:7002")
        self.assertEqual(self.changed, [])
        for command in ("show", "remove", "forbid", "allow"):
            self.assertFails(1, "Invalid value for 'NAME': it is empty", "machines", command, "")
