"""
Changes of users, roles and the switch: what they do, what they refuse, and what holds after any number of them.
"""

from collections.abc import Callable
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from etcd_twisted.auth import changes
from etcd_twisted.auth.changes import AuthError, Permissions
from etcd_twisted.auth.rights import rights_of
from etcd_twisted.auth.state import DISABLED, GUEST, AuthState, Role, User, decode, encode
from tests.auth.strategies import lists, names, patterns

Change = Callable[[AuthState], AuthState]

hashes = st.none() | st.sampled_from(["$first", "$second"])
few_names = st.lists(names, max_size=2)
permissions = st.builds(Permissions, lists, lists)


def _bound(change: Callable[..., AuthState], *arguments: st.SearchStrategy[Any]) -> st.SearchStrategy[Change]:
    return st.tuples(*arguments).map(lambda given: lambda state: change(state, *given))


any_change = st.one_of(
    st.sampled_from([changes.enable, changes.disable]),
    _bound(changes.create_user, names, hashes, few_names),
    _bound(changes.update_user, names, hashes, few_names, few_names),
    _bound(changes.delete_user, names),
    _bound(changes.create_role, st.builds(Role, names, lists, lists)),
    _bound(changes.update_role, names, permissions, permissions),
    _bound(changes.delete_role, names),
)


class ChangesTestCase(SynchronousTestCase):
    def assert_refused(self, change: Callable[..., AuthState], *arguments: Any, status: int, says: str) -> None:
        """Asserts that a change is refused with the words of etcd."""
        error = self.assertRaises(AuthError, change, *arguments)
        self.assertEqual((error.status, str(error)), (status, f"auth: {says}"))


class AnyChangesTests(ChangesTestCase):
    """These tests make changes in any order, as far as they are not refused."""

    @given(st.lists(any_change, max_size=20))
    def test_what_always_holds(self, steps: list[Change]) -> None:
        """
        Root has the role of that name, and exists while authentication is enabled; that role is not among the others;
        a document of the state is read as that state; no change alters the state before it; none is without effect.
        """
        state = DISABLED
        for step in steps:
            before = encode(state)
            try:
                new = step(state)
            except AuthError as error:
                self.assertIn(error.status, (400, 403, 404, 409))
                continue
            finally:
                self.assertEqual(encode(state), before)
            self.assertNotEqual(new, state)
            state = new
            self.assertEqual(decode(encode(state)), state)
            self.assertNotIn("root", state.roles)
            if "root" in state.users:
                self.assertIn("root", state.users["root"].roles)
                self.assertTrue(rights_of(state, "root").is_root)
            self.assertTrue("root" in state.users or not state.enabled)
            for each in state.users.values():
                self.assertEqual(list(each.roles), sorted(set(each.roles)))
                self.assertTrue(each.password_hash)

    @given(st.lists(any_change, max_size=8), any_change)
    def test_rights_are_those_of_the_new_state(self, steps: list[Change], last: Change) -> None:
        """What was computed for a state is not taken for that of the next one."""
        state = DISABLED
        for step in (*steps, last):
            for user in (GUEST, "alice", "root"):
                rights_of(state, user)
            try:
                state = step(state)
            except AuthError:
                continue
            fresh = decode(encode(state))
            for user in (GUEST, "alice", "root"):
                for key in ("/a", "/_etcd/x"):
                    self.assertEqual(rights_of(state, user).may_read(key), rights_of(fresh, user).may_read(key))


class SwitchTests(ChangesTestCase):
    def test_it_needs_a_root_user(self) -> None:
        says = "No root user available, please create one"
        self.assert_refused(changes.enable, DISABLED, status=409, says=says)
        self.assert_refused(changes.disable, DISABLED, status=409, says="already disabled")

    def test_guests_may_do_everything_at_first(self) -> None:
        """A role for them that is there already stays as it is."""
        state = changes.create_user(DISABLED, "root", "$h")
        enabled = changes.enable(state)
        self.assertEqual(enabled.roles["guest"], Role("guest", ("/*",), ("/*",)))
        self.assert_refused(changes.enable, enabled, status=409, says="already enabled")
        own = changes.enable(changes.create_role(state, Role("guest")))
        self.assertEqual(own.roles["guest"], Role("guest"))
        self.assertFalse(rights_of(own, GUEST).may_read("/a"))

    def test_users_and_roles_outlast_it(self) -> None:
        enabled = changes.enable(changes.create_user(DISABLED, "root", "$h"))
        disabled = changes.disable(enabled)
        self.assertEqual((disabled.users, disabled.roles), (enabled.users, enabled.roles))


class UserTests(ChangesTestCase):
    def setUp(self) -> None:
        self.state = changes.create_user(DISABLED, "alice", "$h", ["b", "a", "b"])

    def test_creation(self) -> None:
        """The roles are sorted, and each is there once."""
        self.assertEqual(self.state.users, {"alice": User("alice", "$h", ("a", "b"))})
        says = "Cannot create user bob with an empty password"
        self.assert_refused(changes.create_user, self.state, "bob", None, status=400, says=says)
        says = "User alice already exists."
        self.assert_refused(changes.create_user, self.state, "alice", "$h", status=409, says=says)

    def test_grants_and_revocations(self) -> None:
        """All of one change are made, or none."""
        new = changes.update_user(self.state, "alice", "$new", ["c"], ["a"])
        self.assertEqual(new.users["alice"], User("alice", "$new", ("b", "c")))
        says = "Granting duplicate role a for user alice"
        self.assert_refused(changes.update_user, self.state, "alice", None, ["c", "a"], status=409, says=says)
        says = "Revoking ungranted role c for user alice"
        self.assert_refused(changes.update_user, self.state, "alice", None, [], ["a", "c"], status=409, says=says)

    def test_nothing_changed(self) -> None:
        says = "User not updated. Use grant/revoke/password to update the user."
        self.assert_refused(changes.update_user, self.state, "alice", None, status=400, says=says)
        self.assert_refused(changes.update_user, self.state, "alice", None, ["c"], ["c"], status=400, says=says)
        self.assertNotEqual(changes.update_user(self.state, "alice", "$other"), self.state)

    def test_unknown_users(self) -> None:
        self.assert_refused(changes.user, self.state, "bob", status=404, says="User bob does not exist.")
        self.assert_refused(changes.update_user, self.state, "bob", "$h", status=404, says="User bob does not exist.")
        self.assert_refused(changes.delete_user, self.state, "bob", status=404, says="User bob does not exist")

    def test_deletion(self) -> None:
        self.assertEqual(changes.delete_user(self.state, "alice").users, {})

    def test_root(self) -> None:
        """Root has its role whatever is given or revoked, and stays while authentication is enabled."""
        state = changes.create_user(self.state, "root", "$h", ["guest"])
        self.assertEqual(state.users["root"].roles, ("guest", "root"))
        says = "User not updated. Use grant/revoke/password to update the user."
        self.assert_refused(changes.update_user, state, "root", None, [], ["root"], status=400, says=says)
        says = "Granting duplicate role root for user root"
        self.assert_refused(changes.update_user, state, "root", None, ["root"], status=409, says=says)
        says = "Cannot delete root user while auth is enabled."
        self.assert_refused(changes.delete_user, changes.enable(state), "root", status=403, says=says)
        self.assertNotIn("root", changes.delete_user(state, "root").users)


class RoleTests(ChangesTestCase):
    def setUp(self) -> None:
        self.state = changes.create_role(DISABLED, Role("r", ("/b", "/a"), None))

    def test_creation(self) -> None:
        """Patterns stay in the order in which they are given."""
        self.assertEqual(self.state.roles, {"r": Role("r", ("/b", "/a"), None)})
        self.assert_refused(changes.create_role, self.state, Role("r"), status=409, says="Role r already exists.")

    def test_grants_and_revocations(self) -> None:
        """What is not granted is not missed."""
        new = changes.update_role(self.state, "r", Permissions(("/c",), ("/*",)), Permissions(("/b", "/x"), ("/x",)))
        self.assertEqual(new.roles["r"], Role("r", ("/a", "/c"), ("/*",)))
        says = "Granting duplicate read permission /a"
        given = (self.state, "r", Permissions(("/c", "/a")), Permissions())
        self.assert_refused(changes.update_role, *given, status=409, says=says)
        says = "Granting duplicate write permission /c"
        given = (self.state, "r", Permissions(write=("/c", "/c")), Permissions())
        self.assert_refused(changes.update_role, *given, status=409, says=says)

    @given(patterns)
    def test_nothing_changed(self, pattern: str) -> None:
        says = "Role not updated. Use grant/revoke to update the role."
        once = Permissions(write=(pattern,))
        for grant, revoke in ((Permissions(), Permissions()), (Permissions(), once), (once, once)):
            self.assert_refused(changes.update_role, self.state, "r", grant, revoke, status=400, says=says)

    def test_unknown_roles(self) -> None:
        self.assert_refused(changes.role, self.state, "x", status=404, says="Role x does not exist.")
        given = (self.state, "x", Permissions(("/a",)), Permissions())
        self.assert_refused(changes.update_role, *given, status=404, says="Role x does not exist.")
        self.assert_refused(changes.delete_role, self.state, "x", status=404, says="Role x doesn't exist.")

    def test_the_role_of_root_is_built_in(self) -> None:
        self.assertEqual(changes.role(self.state, "root"), Role("root", ("/*",), ("/*",)))
        says = "Cannot modify role root: is root role."
        self.assert_refused(changes.create_role, self.state, Role("root"), status=403, says=says)
        given = (self.state, "root", Permissions(), Permissions(("/*",)))
        self.assert_refused(changes.update_role, *given, status=403, says=says)
        self.assert_refused(changes.delete_role, self.state, "root", status=403, says=says)

    def test_deletion(self) -> None:
        """That of the guests' role, too."""
        state = changes.enable(changes.create_user(self.state, "root", "$h"))
        self.assertTrue(rights_of(state, GUEST).may_read("/a"))
        without = changes.delete_role(state, "guest")
        self.assertFalse(rights_of(without, GUEST).may_read("/a"))
        self.assertEqual(set(changes.delete_role(without, "r").roles), set())
