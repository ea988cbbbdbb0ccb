"""
Tests of machines as they are registered in the key space (spec, section 3, "Joining").
"""

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from etcd_twisted.consensus.cluster_keys import registrations
from etcd_twisted.errors import EtcdError
from etcd_twisted.interfaces.cluster import DIRECTORY, Machine
from etcd_twisted.keyspace import commands as c
from etcd_twisted.keyspace.space import KeySpace
from etcd_twisted.testing.fake_membership import registered_machines
from tests.keyspace.running import key_space

ONE = Machine("one", "http://127.0.0.1:4001", "http://127.0.0.1:7001")
TWO = Machine("two", "https://[::1]:4001", "https://[::1]:7001")

texts = st.text(st.characters(codec="utf-8"), min_size=1, max_size=20)


def registration(machine: Machine) -> c.Set:
    return c.Set(machine.key, 0, machine.value)


class MachineTests(SynchronousTestCase):
    def test_registration_has_both_urls(self) -> None:
        """The key is C{/_etcd/machines/NAME}, and the value is both URLs, percent-encoded."""
        self.assertEqual(ONE.key, "/_etcd/machines/one")
        self.assertEqual(ONE.value, "etcd=http%3A%2F%2F127.0.0.1%3A4001&raft=http%3A%2F%2F127.0.0.1%3A7001")

    @given(texts, texts)
    def test_any_url_is_read_again(self, client_url: str, peer_url: str) -> None:
        """What is registered is read again, whatever the URLs contain."""
        machine = Machine("name", client_url, peer_url)
        self.assertEqual(registered_machines(key_space(registration(machine)).root), [machine])

    @given(st.lists(texts.filter(lambda name: "/" not in name and name not in (".", "..")), unique=True))
    def test_machines_are_listed_by_name(self, names: list[str]) -> None:
        """Machines are listed by name, whatever their names are and in whatever order they were registered."""
        machines = [Machine(name, "http://c", "http://p") for name in names]
        space = key_space(*map(registration, machines))
        self.assertEqual([machine.name for machine in registered_machines(space.root)], sorted(names))

    def test_new_address_replaces_the_old_one(self) -> None:
        """A machine that is registered again has its new URLs."""
        moved = Machine("one", "http://127.0.0.1:4009", "http://127.0.0.1:7009")
        space = key_space(registration(ONE), registration(TWO), registration(moved))
        self.assertEqual(registered_machines(space.root), [moved, TWO])

    def test_no_machines_are_listed(self) -> None:
        """There are no machines if the directory is missing or something else is in its place."""
        self.assertEqual(registered_machines(KeySpace().root), [])
        self.assertEqual(registered_machines(key_space(c.Set("/_etcd", 0)).root), [])
        self.assertEqual(registered_machines(key_space(c.Set(DIRECTORY, 0)).root), [])
        self.assertEqual(registered_machines(key_space(c.Set(DIRECTORY, 0, directory=True)).root), [])

    def test_other_keys_are_ignored(self) -> None:
        """What is no registration is ignored."""
        space = key_space(
            c.Set(f"{DIRECTORY}/directory/x", 0, ONE.value),
            c.Set(f"{DIRECTORY}/empty", 0),
            c.Set(f"{DIRECTORY}/half", 0, "etcd=http://c"),
            c.Set(f"{DIRECTORY}/blank", 0, "etcd=&raft=http://p"),
            c.Set(f"{DIRECTORY}/text", 0, "one"),
            registration(ONE),
        )
        self.assertEqual(registered_machines(space.root), [ONE])

    def test_removed_machine_is_not_listed(self) -> None:
        """A machine whose key was deleted is not listed."""
        space = key_space(registration(ONE), registration(TWO), c.Delete(ONE.key, 0))
        self.assertEqual(registered_machines(space.root), [TWO])


class RegistrationTests(SynchronousTestCase):
    """Tests of the commands that make the key space say who is in the cluster."""

    def register(self, space: KeySpace, before: list[Machine], after: list[Machine]) -> list[c.Change]:
        """Applies the commands, and returns what was done."""
        commands = registrations(space.root, before, after)
        for command in commands:
            space.apply(command)
        self.assertEqual(registered_machines(space.root), sorted(after, key=lambda machine: machine.name))
        return commands

    def test_each_change_is_registered(self) -> None:
        """Each change of the cluster is a change of the key space, and there are no others."""
        space = KeySpace()
        moved = Machine("one", "http://127.0.0.1:4009", "http://127.0.0.1:7009")
        renamed = Machine("uno", ONE.client_url, ONE.peer_url)
        for before, after, kinds in (
            ([], [ONE], [c.Create]),
            ([ONE], [ONE, TWO], [c.Create]),
            ([ONE, TWO], [ONE, TWO], []),
            ([ONE, TWO], [moved, TWO], [c.Set]),
            ([moved, TWO], [TWO], [c.Delete]),
            ([TWO], [TWO, ONE], [c.Create]),
            ([TWO, ONE], [TWO, renamed], [c.Delete, c.Create]),
        ):
            index = space.index
            commands = self.register(space, list(before), list(after))
            self.assertEqual([type(command) for command in commands], kinds)
            self.assertEqual(space.index, index + len(kinds))

    def test_existing_registration_is_kept(self) -> None:
        """The key space may be from before the log said who is in the cluster."""
        self.assertEqual(registrations(key_space(registration(ONE)).root, [], [ONE]), [])

    def test_registration_that_was_changed_by_hand_is_corrected(self) -> None:
        """A registration that was changed by hand is corrected with the next change."""
        space = key_space(registration(ONE), c.Set(TWO.key, 0, "mine"))
        self.register(space, [ONE, TWO], [ONE, TWO])
        space.apply(c.Delete(ONE.key, 0))
        self.register(space, [ONE, TWO], [ONE, TWO])

    def test_obstacle_is_reported(self) -> None:
        """A command that can't be carried out says what is in the way."""
        directory = key_space(c.Set(f"{TWO.key}/x", 0))
        file = key_space(c.Set(DIRECTORY, 0, "x"))
        for space in (directory, file):
            (command,) = registrations(space.root, [], [TWO])
            self.assertRaises(EtcdError, space.apply, command)
        self.assertEqual(registrations(file.root, [TWO], []), [c.Delete(TWO.key, 0)])
