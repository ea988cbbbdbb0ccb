"""
Changes of users and roles on three machines with real replicas: none is lost, and none is made twice.
"""

from twisted.internet.defer import Deferred, ensureDeferred

from etcd_twisted.auth.changes import AuthError, create_role
from etcd_twisted.auth.state import AuthState, Role
from etcd_twisted.errors import EtcdError
from etcd_twisted.web.auth.document import AuthDocument
from tests.consensus.cluster import Cluster, ClusterMachine, ClusterTestCase


def allow(_state: AuthState) -> None:
    """Lets everybody make changes."""


class GroupTests(ClusterTestCase):
    """These tests make changes on all machines."""

    def setUp(self) -> None:
        self.group: Cluster = self.cluster()
        self.group.start(3)

    def create(self, machine: ClusterMachine, name: str) -> "Deferred[AuthState]":
        """Begins to create a role."""
        document = AuthDocument(machine.replica, machine.clock, 5.0, forwards=True)
        return ensureDeferred(document.change(allow, lambda state: create_role(state, Role(name))))

    def roles(self) -> set[str]:
        """Returns the names of all roles, which all machines know."""
        self.group.settle()
        (known,) = {frozenset(machine.replica.auth.roles) for machine in self.group.running}
        return set(known)

    def test_changes_at_once_are_all_made(self) -> None:
        made = [self.create(machine, f"{machine.name}-{n}") for n in range(5) for machine in self.group.running]
        states = [self.group.result_of(each) for each in made]
        self.assertEqual(len(self.roles()), 15)
        self.assertEqual({len(state.roles) for state in states}, set(range(1, 16)))  # each saw those before it

    def test_the_same_change_at_once_is_made_once(self) -> None:
        outcomes = []
        for each in [self.create(machine, "r") for machine in self.group.running]:
            each.addCallbacks(lambda _: "made", lambda failure: str(failure.trap(AuthError)) and failure.value.status)
            outcomes.append(self.group.result_of(each))
        self.assertEqual(sorted(outcomes, key=str), [409, 409, "made"])

    def test_a_machine_sees_what_another_has_changed(self) -> None:
        """A change right after one on another machine is not refused by an old copy."""
        first, second, _ = self.group.running
        for number in range(5):
            self.group.result_of(self.create(first, f"{number}"))
            error = self.failure_of(self.create(second, f"{number}"))
            self.assertIsInstance(error, AuthError)

    def failure_of(self, deferred: "Deferred[AuthState]") -> Exception:
        """Returns the error that a change fails with."""
        failed: Deferred[Exception] = deferred.addCallbacks(self.fail, lambda failure: failure.value)
        return self.group.result_of(failed)

    def test_changes_while_the_leader_dies(self) -> None:
        """What was acknowledged is there, and what else is there was reported as unknown."""
        followers, acknowledged, unknown = self.group.followers, set[str](), set[str]()

        def begin(name: str, machine: ClusterMachine) -> "Deferred[None]":
            def failed(error: Exception) -> None:
                self.assertIsInstance(error, EtcdError)
                unknown.add(name)

            changed = self.create(machine, name)
            return changed.addCallbacks(lambda _: acknowledged.add(name), lambda failure: failed(failure.value))

        names = [f"{n}-{each.name}" for n in range(10) for each in followers]
        running = [begin(name, followers[number % 2]) for number, name in enumerate(names)]
        self.group.advance_until(lambda: len(acknowledged) > 3)
        self.group.leader.crash()
        for each in running:
            self.group.result_of(each)
        self.group.await_leader()
        roles = self.roles()
        self.assertLessEqual(acknowledged, roles)
        self.assertLessEqual(roles, acknowledged | unknown)
        self.assertEqual(acknowledged | unknown, set(names))
        self.assertGreater(len(acknowledged), 4)
