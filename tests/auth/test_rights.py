"""
What users may do: patterns, recursive requests, the cluster's own keys, and roles.
"""

from re import escape, fullmatch

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from etcd_twisted.auth.rights import guests_may_do_everything, is_reserved, rights_of
from etcd_twisted.auth.state import AUTH_KEY, DISABLED, GUEST, AuthState, Role, User
from etcd_twisted.keyspace import commands
from tests.auth.strategies import all_keys, names, patterns, states

ROOT_USER = User("root", "", ("root",))


def with_role(read: tuple[str, ...] = (), write: tuple[str, ...] = ()) -> AuthState:
    """Returns a state in which alice has one role with these patterns."""
    return AuthState(True, {"alice": User("alice", "", ("r",)), "root": ROOT_USER}, {"r": Role("r", read, write)})


def matches(pattern: str, key: str, recursive: bool) -> bool:
    """Returns whether a pattern matches a key, by the words of the API."""
    if pattern.endswith("*"):
        return fullmatch(escape(pattern[:-1]) + ".*", key) is not None
    return not recursive and pattern == key


class PatternTests(SynchronousTestCase):
    @given(st.lists(patterns, max_size=3), st.lists(patterns, max_size=3), all_keys, st.booleans())
    def test_rights_follow_the_patterns(self, read: list[str], write: list[str], key: str, recursive: bool) -> None:
        """Reading and writing are apart. The cluster's own keys match nothing."""
        rights = rights_of(with_role(tuple(read), tuple(write)), "alice")
        for may, granted in ((rights.may_read, read), (rights.may_write, write)):
            expected = not is_reserved(key) and any(matches(each, key, recursive) for each in granted)
            self.assertEqual(may(key, recursive), expected)
        self.assertFalse(rights.is_root)

    def test_examples(self) -> None:
        """A prefix is a prefix of the text, not of the path."""
        rights = rights_of(with_role(read=("/a*", "/b/*", "/c")), "alice")
        allowed = [key for key in ("/", "/a", "/ab/c", "/b", "/b/x/_y", "/c", "/c/d", "/d") if rights.may_read(key)]
        self.assertEqual(allowed, ["/a", "/ab/c", "/b/x/_y", "/c"])
        recursive = [key for key in ("/", "/a", "/b", "/b/x", "/c") if rights.may_read(key, recursive=True)]
        self.assertEqual(recursive, ["/a", "/b/x"])
        self.assertFalse(rights.may_write("/a"))

    def test_commands(self) -> None:
        """A recursive removal needs a prefix; an in-order key is checked on its directory; all others on their key."""
        rights = rights_of(with_role(write=("/a", "/p/*")), "alice")
        on_a = [
            commands.Set("/a", 0), commands.Create("/a", 0), commands.CreateInOrder("/a", 0), commands.Update("/a", 0),
            commands.Refresh("/a", 0, 1), commands.SetTtl("/a", 0, 1), commands.CompareAndSwap("/a", 0, "x"),
            commands.SetOrSwap("/a", 0), commands.Delete("/a", 0), commands.Delete("/a", 0, directory=True),
            commands.CompareAndDelete("/a", 0),
        ]  # fmt: skip
        self.assertEqual([each for each in on_a if not rights.may_change(each)], [])
        refused = (commands.Delete("/a", 0, recursive=True), commands.CreateInOrder("/p", 0), commands.Set("/a/b", 0))
        self.assertEqual([each for each in refused if rights.may_change(each)], [])
        self.assertTrue(rights.may_change(commands.Delete("/p/x", 0, recursive=True)))


class ReservedTests(SynchronousTestCase):
    """The keys of the cluster are root's."""

    def test_which_keys_are_reserved(self) -> None:
        for key in ("/_etcd", AUTH_KEY, "/_etcd/machines/a", "/_etcd/config", "/_etcd/modx", "/_etcd/registryx"):
            self.assertTrue(is_reserved(key), key)
        for key in (
            "/",
            "/a",
            "/_etcdx",
            "/_etc",
            "/_etcd/mod",
            "/_etcd/mod/lock/a",
            "/_etcd/registry/t/x",
        ):
            self.assertFalse(is_reserved(key), key)

    def test_only_root_has_them(self) -> None:
        state = with_role(("/*", AUTH_KEY), ("/*", AUTH_KEY))
        for user, expected in (("alice", False), ("root", True), (GUEST, False)):
            rights = rights_of(state, user)
            self.assertEqual((rights.may_read(AUTH_KEY), rights.may_write("/_etcd", True)), (expected, expected), user)
        self.assertTrue(rights_of(state, "alice").may_write("/_etcd/mod/lock/a"))


class UserTests(SynchronousTestCase):
    """These tests are about who has which roles."""

    @given(states, names, all_keys)
    def test_a_user_has_the_rights_of_its_roles_together(self, state: AuthState, user: str, key: str) -> None:
        """That is so for each way to read the rights, and nobody else has any."""
        rights = rights_of(state, user)
        if not state.enabled:
            self.assertTrue(rights.is_root)
            return
        held = ("guest",) if user == GUEST else state.users[user].roles if user in state.users else ()
        self.assertEqual(rights.is_root, "root" in held)
        granted = [state.roles[each] for each in held if each in state.roles]
        read, write = (
            [p for each in granted for p in each.read or ()],
            [p for each in granted for p in each.write or ()],
        )
        for may, held_patterns in ((rights.may_read, read), (rights.may_write, write)):
            by_patterns = not is_reserved(key) and any(matches(each, key, False) for each in held_patterns)
            self.assertEqual(may(key), rights.is_root or by_patterns)

    def test_everything_is_open_while_disabled(self) -> None:
        for user in (GUEST, "root", "nobody"):
            self.assertTrue(rights_of(DISABLED, user).is_root)

    def test_a_name_without_a_user_is_not_a_guest(self) -> None:
        """Nor does a user who is called like the role have its rights."""
        guest = {"guest": Role("guest", ("/*",), ("/*",))}
        state = AuthState(True, {"guest": User("guest", "")}, guest)
        self.assertTrue(rights_of(state, GUEST).may_read("/a"))
        self.assertFalse(rights_of(state, "gone").may_read("/a"))
        self.assertFalse(rights_of(state, "guest").may_read("/a"))

    def test_rights_are_computed_once(self) -> None:
        """Names that no user has are not remembered: there is no end of them."""
        state = with_role()
        for user in ("alice", "root", GUEST):
            self.assertIs(rights_of(state, user), rights_of(state, user))
        for number in range(100):
            rights_of(state, f"nobody{number}")
        self.assertEqual(len(state.cache), 3)

    def test_a_role_that_does_not_exist_gives_no_rights(self) -> None:
        state = AuthState(True, {"alice": User("alice", "", ("gone",))}, {})
        self.assertFalse(rights_of(state, "alice").may_read("/a"))


class OpenTests(SynchronousTestCase):
    """These tests are about the state of which operators are warned."""

    def test_when_guests_may_do_everything(self) -> None:
        def state(enabled: bool, *roles: Role) -> AuthState:
            return AuthState(enabled, {}, {each.name: each for each in roles})

        everything = Role("guest", ("/*",), ("/*",))
        self.assertTrue(guests_may_do_everything(state(True, everything)))
        self.assertTrue(guests_may_do_everything(state(True, Role("guest", ("*",), ("/*",)))))
        self.assertFalse(guests_may_do_everything(state(False, everything)))
        self.assertFalse(guests_may_do_everything(state(True)))
        self.assertFalse(guests_may_do_everything(state(True, Role("guest", ("/*",), ("/a/*",)))))
        self.assertFalse(guests_may_do_everything(state(True, Role("other", ("/*",), ("/*",)))))
