"""
The document that holds users and roles: it is read back as it was written, and never read as open by mistake.
"""

import json

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from etcd_twisted.auth.rights import rights_of
from etcd_twisted.auth.state import AUTH_KEY, DISABLED, GUEST, AuthState, CurrentAuth, Role, User, decode, encode, read
from etcd_twisted.keyspace.commands import Delete, Set
from etcd_twisted.keyspace.nodes import File, empty_directory
from etcd_twisted.keyspace.space import KeySpace
from tests.auth.strategies import all_keys, states

STATE = AuthState(
    True,
    {"root": User("root", "$2b$04$hash", ("root",)), "alice": User("alice", "$2b$04$other")},
    {"guest": Role("guest", ("/*",), ("/open/*", "/x"))},
)
VALID = json.loads(encode(STATE))


class DocumentTests(SynchronousTestCase):
    @given(states)
    def test_a_state_is_read_back_as_it_was_written(self, state: AuthState) -> None:
        self.assertEqual(decode(encode(state)), state)

    def test_documents_of_equal_states_are_equal(self) -> None:
        """A change that changes nothing leaves the text as it is, in whatever order things were created."""
        other = AuthState(True, dict(reversed(STATE.users.items())), STATE.roles)
        self.assertEqual(encode(other), encode(STATE))

    def test_the_text_of_a_state_has_no_hashes(self) -> None:
        self.assertNotIn("$2b$", repr(STATE))
        self.assertIn("alice", repr(STATE))

    def test_fields_of_later_versions_are_ignored(self) -> None:
        self.assertEqual(decode(json.dumps({**VALID, "later": 1})), STATE)


class FailClosedTests(SynchronousTestCase):
    """Nobody has rights while the document can't be read."""

    def assert_closed(self, state: AuthState) -> None:
        """Asserts that nobody may do anything, and that the state says why."""
        self.assertEqual((state.enabled, dict(state.users), dict(state.roles)), (True, {}, {}))
        self.assertNotEqual(state.problem, "")
        for user in (GUEST, "root"):
            rights = rights_of(state, user)
            self.assertFalse(rights.is_root or rights.may_read("/a") or rights.may_write("/a"))

    def test_no_document_is_disabled(self) -> None:
        self.assertIs(read(None), DISABLED)
        self.assertFalse(DISABLED.enabled)

    def test_what_is_no_document_is_closed(self) -> None:
        """A field that is missing is as bad as a text that is no JSON."""
        for missing in VALID:
            self.assert_closed(read(File(json.dumps({k: v for k, v in VALID.items() if k != missing}), 1, 1)))
        for text in ("", "{}", "null", "[" * 100_000, '{"enabled": "no"}'):
            self.assert_closed(read(File(text, 1, 1)))
        self.assert_closed(read(empty_directory(1)))

    @given(st.text(max_size=20), st.integers(0, 200), st.integers(0, 20))
    def test_a_damaged_document_never_disables_authentication(self, text: str, start: int, length: int) -> None:
        """It is read as enabled, or not at all, unless the damage is the switch itself."""
        document = encode(STATE)
        damaged = document[:start] + text + document[start + length :]
        state = read(File(damaged, 1, 1))
        self.assertTrue(state.enabled or '"enabled":false' in damaged)


class CurrentAuthTests(SynchronousTestCase):
    """These tests follow the document through changes of a key space."""

    def setUp(self) -> None:
        self.space = KeySpace()
        self.problems: list[str] = []
        self.current = CurrentAuth(self.problems.append)

    def test_it_follows_the_document(self) -> None:
        self.assertIs(self.current.of(KeySpace()), DISABLED)
        self.space.apply(Set(AUTH_KEY, 0, encode(STATE)))
        self.assertEqual(self.current.of(self.space), STATE)
        self.space.apply(Delete(AUTH_KEY, 0))
        self.assertIs(self.current.of(self.space), DISABLED)

    def test_an_unchanged_document_is_not_decoded_again(self) -> None:
        """So rights that were computed from it are kept, although other keys of the cluster change."""
        self.space.apply(Set(AUTH_KEY, 0, encode(STATE)))
        state = self.current.of(self.space)
        self.space.apply(Set("/_etcd/mod/lock/x", 0, ""))
        self.space.apply(Set("/a", 0, ""))
        self.assertIs(self.current.of(self.space), state)

    def test_each_problem_is_reported_once(self) -> None:
        self.space.apply(Set(AUTH_KEY, 0, "{"))
        for _ in range(2):
            self.assertTrue(self.current.of(self.space).problem)
        self.space.apply(Set("/_etcd/x", 0, ""))
        self.current.of(self.space)
        self.assertEqual(len(self.problems), 1)
        self.space.apply(Set(AUTH_KEY, 0, encode(STATE)))
        self.assertEqual(self.current.of(self.space).problem, "")

    def test_a_file_in_place_of_the_directory_is_no_document(self) -> None:
        self.space.apply(Set("/_etcd", 0, "x"))
        self.assertIs(self.current.of(self.space), DISABLED)

    @given(all_keys)
    def test_other_keys_are_not_the_document(self, key: str) -> None:
        space, current = KeySpace(), CurrentAuth(self.fail)
        if key not in ("/", AUTH_KEY):
            space.apply(Set(key, 0, "x"))
        self.assertIs(current.of(space), DISABLED)
