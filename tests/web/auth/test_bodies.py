"""
Bodies of requests for users and roles: any is answered.
"""

import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.defer import ensureDeferred, maybeDeferred
from twisted.trial.unittest import SynchronousTestCase

from etcd_twisted.auth.state import GUEST
from etcd_twisted.testing.replica import FakeReplica
from etcd_twisted.web.auth.pages import AuthPages, AuthRequest
from etcd_twisted.web.auth.passwords import Passwords
from tests.web.auth.threads import COST

_fields = st.sampled_from(
    ["user", "role", "password", "roles", "grant", "revoke", "permissions", "KV", "kv", "read", "write", "x"]
)
_texts = st.sampled_from(["a", "root", "/*", "", "\udc80", "x" * 80]) | st.text(max_size=3)
_anything = st.recursive(
    st.none() | st.booleans() | st.integers() | _texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_fields, inner, max_size=4),
    max_leaves=12,
)


class AnyBodyTests(SynchronousTestCase):
    """These tests send any body."""

    @given(
        st.sampled_from(["users/a", "users/root", "roles/a", "roles/root"]),
        _anything,
    )
    def test_any_body_is_answered(self, path: str, body: Any) -> None:
        """It changes something, or is refused with a message; the state that it leaves can be read."""
        if isinstance(body, dict):
            body = {"user": path.partition("/")[2], "role": path.partition("/")[2]} | body
        self.put(path, json.dumps(body).encode())

    @given(st.binary(max_size=30))
    def test_bytes_are_answered(self, body: bytes) -> None:
        self.put("users/a", body)

    def put(self, path: str, body: bytes) -> None:
        replica = FakeReplica()
        pages = AuthPages(replica, replica.clock, Passwords(maybeDeferred, COST), 1.0, forwards=True)
        request = AuthRequest(b"PUT", path, b"", body, guest)
        response = self.successResultOf(ensureDeferred(pages.handle(request)))
        self.assertIn(response.status, (200, 201, 400, 403, 404, 409))
        self.assertEqual("message" in json.loads(response.body), response.status >= 400)
        self.assertEqual(replica.auth.problem, "")
        self.assertEqual(bool(replica.auth.users or replica.auth.roles), response.status < 400)


async def guest() -> str:
    """Returns who makes a request while authentication is disabled."""
    return GUEST
