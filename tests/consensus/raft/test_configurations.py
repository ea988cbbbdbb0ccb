"""
Tests of L{etcd_twisted.consensus.raft.configurations}.
"""

from typing import ClassVar

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from etcd_twisted.consensus.raft.configurations import (
    ConfigurationError,
    Configurations,
    bootstrap,
    decode_configuration,
    differences,
    encode_configuration,
)
from etcd_twisted.consensus.raft.entries import Configuration, EntryKind, HardState, Member
from tests.consensus.raft.group import entry


def group_of(number: int) -> Configuration:
    """Returns a configuration that differs from all others."""
    return Configuration(("a", f"b{number}"))


class DifferencesTests(SynchronousTestCase):
    """Tests of the description of a change."""

    MEMBERS: ClassVar = {"a": Member("one", "c1", "p1"), "b": Member("two", "c2", "p2"), "c": Member("x", "c3", "p3")}
    BEFORE = Configuration(("a", "b"), ("c",), MEMBERS)

    def told(self, voters: str, learners: str = "", **members: Member) -> list[str]:
        after = Configuration(tuple(voters), tuple(learners), {**self.BEFORE.members, **members})
        return list(differences(self.BEFORE, after))

    def test_equal_configurations_have_no_difference(self) -> None:
        self.assertEqual(self.told("ab", "c"), [])

    def test_machine_that_is_added(self) -> None:
        new = Member("new", "c4", "p4")
        self.assertEqual(self.told("ab", "cd", d=new), ["new at p4 has joined the cluster"])
        self.assertEqual(self.told("abd", "c", d=new), ["new at p4 has joined the cluster", "new has a vote"])

    def test_machine_that_gets_a_vote(self) -> None:
        self.assertEqual(self.told("abc"), ["x has a vote"])

    def test_machine_that_moves(self) -> None:
        told = self.told("ab", "c", b=Member("two", "c2", "p9"))
        self.assertEqual(told, ["two is at p9 for machines and at c2 for clients from now on"])
        told = self.told("ab", "c", b=Member("three", "c2", "p2"))
        self.assertEqual(told, ["two is called three, and is at p2 for machines and at c2 for clients from now on"])

    def test_machine_that_is_removed(self) -> None:
        after = Configuration(("a",), ("c",), {name: self.BEFORE.members[name] for name in "ac"})
        self.assertEqual(list(differences(self.BEFORE, after)), ["two is no longer in the cluster"])


class ConfigurationsTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.stack = Configurations(3, group_of(3))
        for index in (5, 8):
            self.adopt(index)

    def adopt(self, index: int) -> None:
        self.stack.adopt(
            [
                entry(index - 1, 1, b"no configuration"),
                entry(index, 1, encode_configuration(group_of(index)), EntryKind.CONFIGURATION),
            ]
        )

    def test_newest_configuration_counts(self) -> None:
        self.assertEqual((self.stack.current, self.stack.index), (group_of(8), 8))
        self.assertEqual(list(self.stack), [(index, group_of(index)) for index in (3, 5, 8)])

    def test_configurations_since_an_entry(self) -> None:
        for index, expected in ((9, (8,)), (8, (8,)), (7, (8, 5)), (5, (8, 5)), (4, (8, 5, 3)), (0, (8, 5, 3))):
            self.assertEqual(list(self.stack.since(index)), [group_of(each) for each in expected])

    def test_newest_committed_configuration(self) -> None:
        for commit, index in ((9, 8), (8, 8), (7, 5), (5, 5), (4, 3), (3, 3)):
            self.assertEqual(self.stack.index_at(commit), index)

    def test_replaced_configurations_are_dropped(self) -> None:
        self.stack.replaced_after(8)
        self.assertEqual(self.stack.index, 8)
        self.stack.replaced_after(7)
        self.assertEqual(self.stack.index, 5)
        self.stack.replaced_after(4)
        self.assertEqual(self.stack.index, 3)

    def test_snapshot_keeps_its_configuration(self) -> None:
        for index, expected in ((4, [3, 5, 8]), (5, [5, 8]), (7, [5, 8]), (20, [8])):
            self.setUp()
            self.stack.compacted(index)
            self.assertEqual([each for each, _ in self.stack], expected)

    def test_another_machines_snapshot_brings_its_configuration(self) -> None:
        self.stack.installed(6, group_of(6))
        self.assertEqual(list(self.stack), [(6, group_of(6)), (8, group_of(8))])
        self.stack.installed(9, group_of(9))
        self.assertEqual(list(self.stack), [(9, group_of(9))])


class ChangeTests(SynchronousTestCase):
    MACHINES = st.lists(st.sampled_from("abcde"), max_size=6).map(tuple)

    @given(MACHINES.filter(bool), MACHINES, MACHINES)
    def test_one_voter_may_be_changed_at_once(
        self, before: tuple[str, ...], voters: tuple[str, ...], learners: tuple[str, ...]
    ) -> None:
        stack = Configurations(0, Configuration(before))
        everybody = [*voters, *learners]
        twice = any(everybody.count(each) > 1 for each in everybody)
        come, gone = set(voters) - set(before), set(before) - set(voters)
        if twice or len(come) + len(gone) > 1 or not voters:
            self.assertRaises(ConfigurationError, stack.check_change, Configuration(voters, learners))
        else:
            stack.check_change(Configuration(voters, learners))


class EncodingTests(SynchronousTestCase):
    def test_encoded_configuration_is_decoded(self) -> None:
        configuration = Configuration(("a",), ("b",), {"a": Member("machine0", "http://c", "http://p")})
        self.assertEqual(decode_configuration(encode_configuration(configuration)), configuration)

    def test_first_record_is_a_configuration(self) -> None:
        member = Member("machine0", "http://c", "http://p")
        record = bootstrap("a", member)
        self.assertEqual(record.hard_state, HardState(1, ""))
        (first,) = record.entries
        self.assertEqual((first.index, first.term, first.kind), (1, 1, EntryKind.CONFIGURATION))
        self.assertEqual(decode_configuration(first.data), Configuration(("a",), (), {"a": member}))
