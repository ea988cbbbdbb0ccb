"""
Which requests about keys may be served, compared with the words of the API.
"""

from collections.abc import Callable

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from etcd_twisted.auth.checks import CAUSE, MARK, check_change, check_read
from etcd_twisted.auth.state import AUTH_KEY, DISABLED, AuthState, Role, User
from etcd_twisted.errors import EtcdError
from etcd_twisted.keyspace import commands as c
from tests.auth.strategies import all_keys, names, states

_GRANTABLE = ("/_etcd/mod", "/_etcd/registry")


def _within(key: str, directory: str) -> bool:
    return (key + "/").startswith(directory + "/")


def _allowed(state: AuthState, user: str, key: str, recursive: bool, writes: bool) -> bool:
    """Returns what the API says about a request, word by word."""
    if not state.enabled:
        return True
    if user == "":
        held: tuple[str, ...] = ("guest",)
    elif user in state.users:
        held = state.users[user].roles
    else:
        return False
    if "root" in held:
        return True
    if _within(key, "/_etcd") and not any(_within(key, each) for each in _GRANTABLE):
        return False
    for role in (state.roles[name] for name in held if name in state.roles):
        for pattern in (role.write if writes else role.read) or ():
            if pattern[-1:] == "*":
                if key[: len(pattern) - 1] == pattern[:-1]:
                    return True
            elif key == pattern and not recursive:
                return True
    return False


def _refusal(check: Callable[..., None], *arguments: object) -> int:
    """Returns the code of the error that a check raises, or 0."""
    try:
        check(*arguments)
    except EtcdError as error:
        return int(error.code)
    return 0


_COMMANDS = {
    "set": lambda key: c.Set(key, 0),
    "set with a TTL": lambda key: c.Set(key, 0, expires=1),
    "create": lambda key: c.Create(key, 0, directory=True),
    "post": lambda key: c.CreateInOrder(key, 0),
    "update": lambda key: c.Update(key, 0, expires=1),
    "refresh": lambda key: c.Refresh(key, 0, 1),
    "set a TTL": lambda key: c.SetTtl(key, 0, 1),
    "swap": lambda key: c.CompareAndSwap(key, 0, "x"),
    "set or swap": lambda key: c.SetOrSwap(key, 0),
    "delete": lambda key: c.Delete(key, 0),
    "delete a directory": lambda key: c.Delete(key, 0, True),
    "delete all": lambda key: c.Delete(key, 0, True, True),
    "compare and delete": lambda key: c.CompareAndDelete(key, 0),
}
"""The commands of a client, all of them."""


class MatrixTests(SynchronousTestCase):
    """Every command, with the rights on a key and on a directory, and without."""

    def refused(self, command: str, key: str, *patterns: str) -> int:
        roles = {"r": Role("r", patterns, patterns)}
        state = AuthState(True, {"alice": User("alice", "", ("r",))}, roles)
        return _refusal(check_change, state, "alice", _COMMANDS[command](key))

    def test_causes(self) -> None:
        """They are etcd's: they say of no key that it is there."""
        state = AuthState(enabled=True)
        for check, asked, cause in (
            (check_change, c.Set("/a", 0), CAUSE),
            (check_change, c.Set("/_etcd/_auth/x", 0), "/_etcd/_auth/x"),
        ):
            with self.assertRaises(EtcdError) as raised:
                check(state, "alice", asked)
            self.assertEqual((raised.exception.cause, raised.exception.index), (cause, 0))

    def test_every_command_of_a_client_is_here(self) -> None:
        made = {type(make("/k")) for make in _COMMANDS.values()}
        self.assertEqual(made, set(c.Change.__args__))

    def test_commands_need_a_right_on_their_key(self) -> None:
        for command in _COMMANDS:
            for key in ("/a", "/a/b", "/_a/b", "/a/_b"):
                self.assertEqual(self.refused(command, key), 110, command)
                self.assertEqual(self.refused(command, key, key + "/*", key + "x", key[:-1]), 110, command)
                self.assertEqual(self.refused(command, key, key), 110 if command == "delete all" else 0, command)
                self.assertEqual(self.refused(command, key, key[:-1] + "*"), 0, command)

    def test_commands_never_reach_the_users(self) -> None:
        """Nor do they remove or expire their directory, whoever wants it."""
        states = (DISABLED, AuthState(True, {"root": User("root", "", ("root",))}))
        for state in states:
            for command, make in _COMMANDS.items():
                for key in (AUTH_KEY, AUTH_KEY + "/x/y"):
                    self.assertEqual(_refusal(check_change, state, "root", make(key)), 106, command)
                expected = 0 if command == "post" else 106
                self.assertEqual(_refusal(check_change, state, "root", make("/_etcd")), expected, command)
                for key in ("/_etcd/config", "/_etcd/_auths", "/x/_etcd/_auth", "/_etcd/x/_auth"):
                    self.assertEqual(_refusal(check_change, state, "root", make(key)), 0, command)
            for recursive in (False, True):
                for key, code in ((AUTH_KEY, 100), (AUTH_KEY + "/x", 100), ("/_etcd", 0), ("/_etcd/_auths", 0)):
                    self.assertEqual(_refusal(check_read, state, "root", key, recursive), code, key)


class PropertyTests(SynchronousTestCase):
    @given(states, names, all_keys, st.booleans())
    def test_reads_follow_the_words(self, state: AuthState, user: str, key: str, recursive: bool) -> None:
        code = _refusal(check_read, state, user, key, recursive)
        if _within(key, AUTH_KEY):
            self.assertEqual(code, 100)
        else:
            self.assertEqual(code == 0, _allowed(state, user, key, recursive, False))

    @given(states, names, all_keys, st.sampled_from(list(_COMMANDS)))
    def test_changes_follow_the_words(self, state: AuthState, user: str, key: str, command: str) -> None:
        code = _refusal(check_change, state, user, _COMMANDS[command](key))
        if _within(key, AUTH_KEY) or (key == "/_etcd" and command != "post"):
            self.assertEqual(code, 106)
        else:
            self.assertEqual(code == 0, _allowed(state, user, key, command == "delete all", True))

    @given(all_keys, st.sampled_from(list(_COMMANDS)))
    def test_most_keys_need_no_check(self, key: str, command: str) -> None:
        """While authentication is disabled, those without the mark need none."""
        if MARK not in key:
            self.assertEqual(_refusal(check_change, DISABLED, "", _COMMANDS[command](key)), 0)
            self.assertEqual(_refusal(check_read, DISABLED, "", key, True), 0)
