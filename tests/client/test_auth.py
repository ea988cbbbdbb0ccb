"""What a client asks about users and roles, and what it does when it is refused."""

import json

from twisted.trial.unittest import SynchronousTestCase

from etcd_twisted.client import InsufficientCredentials, OutcomeUnknown, RequestRefused, Role, UnexpectedAnswer, User
from etcd_twisted.testing import Hang, Reply, StubAgent

NO_RIGHT = b'{"message":"Insufficient credentials"}'
NO_RIGHT_ON_KEYS = (
    b'{"errorCode":110,"message":"The request requires user authentication","cause":"Insufficient credentials",'
    b'"index":0}'
)
KV = b'"permissions":{"kv":{"read":["/a/*"],"write":null}}'


class AuthTests(SynchronousTestCase):
    def ask(self, agent: StubAgent, name: str, *arguments: object, **options: object) -> object:
        return getattr(agent.client().auth, name)(*arguments, **options)

    def test_users_and_roles_as_etcd_shows_them(self) -> None:
        shown = {
            ("is_enabled",): (b'{"enabled":true}\n', True),
            ("users",): (b'{"users":[{"user":"ben","roles":[{"role":"z",%s},{"role":"a"}]}]}' % KV, None),
            ("user", "ben"): (b'{"user":"ben","roles":null}\n', User("ben", ())),
            ("roles",): (b'{"roles":[{"role":"a",%s}]}\n' % KV, (Role("a", ("/a/*",), ()),)),
            ("role", "a"): (b'{"role":"a","permissions":{"kv":{"read":null,"write":[]}}}', Role("a", (), ())),
        }
        shown["users",] = (shown["users",][0], (User("ben", ("a", "z")),))
        for (name, *arguments), (body, expected) in shown.items():
            found = self.ask(StubAgent(a=Reply(200, body)), name, *arguments)
            self.assertEqual(self.successResultOf(found), expected)  # type: ignore[arg-type]
            failing = self.ask(StubAgent(a=Reply(200, b"<html>")), name, *arguments)
            self.failureResultOf(failing, UnexpectedAnswer)  # type: ignore[arg-type]

    def test_no_users_yet(self) -> None:
        agent = StubAgent(a=Reply(200, b'{"users":null}\n'))
        self.assertEqual(self.successResultOf(agent.client().auth.users()), ())

    def test_requests(self) -> None:
        """Each is one request, whose body is what the API takes."""
        kv = {"kv": {"read": ["/a"], "write": []}}
        for (name, *arguments), options, expected in (
            (("enable",), {}, ("PUT", "/v2/auth/enable", {})),
            (("disable",), {}, ("DELETE", "/v2/auth/enable", None)),
            (
                ("add_user", "a b", "pass", ("r",)),
                {},
                ("PUT", "/v2/auth/users/a%20b", {"user": "a b", "password": "pass", "roles": ["r"]}),
            ),
            (("grant_roles", "b", "web"), {}, ("PUT", "/v2/auth/users/b", {"user": "b", "grant": ["web"]})),
            (("revoke_roles", "b", ("x", "y")), {}, ("PUT", "/v2/auth/users/b", {"user": "b", "revoke": ["x", "y"]})),
            (("remove_user", "a/b"), {}, ("DELETE", "/v2/auth/users/a%2Fb", None)),
            (("add_role", "r"), {"read": "/a"}, ("PUT", "/v2/auth/roles/r", {"role": "r", "permissions": kv})),
            (("grant", "r"), {"read": ["/a"]}, ("PUT", "/v2/auth/roles/r", {"role": "r", "grant": kv})),
            (("revoke", "r"), {"read": "/a"}, ("PUT", "/v2/auth/roles/r", {"role": "r", "revoke": kv})),
            (("remove_role", "r"), {}, ("DELETE", "/v2/auth/roles/r", None)),
        ):
            agent = StubAgent(a=Reply(200, b""))
            self.assertIsNone(self.successResultOf(self.ask(agent, name, *arguments, **options)))  # type: ignore[arg-type]
            (sent,) = agent.sent
            body = json.loads(sent.body) if sent.body else None
            self.assertEqual((sent.method, sent.target, body), expected)

    def test_an_existing_user_keeps_the_password(self) -> None:
        """The API has one request for both, which would change it."""
        users = Reply(200, b'{"users":[{"user":"ben","roles":[]}]}')
        for name, user, status in (("add_user", "ben", 409), ("set_password", "ada", 404)):
            agent = StubAgent(a=users)
            failure = self.failureResultOf(self.ask(agent, name, user, "pass"), RequestRefused)  # type: ignore[arg-type]
            self.assertEqual(failure.value.status, status)
            self.assertEqual([sent.method for sent in agent.sent], ["GET"])
        for name, user in (("add_user", "ada"), ("set_password", "ben")):
            agent = StubAgent(a=[users, Reply(201, b"")])
            self.assertIsNone(self.successResultOf(self.ask(agent, name, user, "pass")))  # type: ignore[arg-type]
            self.assertEqual(json.loads(agent.sent[-1].body), {"user": user, "password": "pass"})

    def test_names_that_can_not_be_used(self) -> None:
        auth = StubAgent(a=Reply()).client().auth
        for wrong in (
            lambda: auth.add_user("a:b", "pass"),
            lambda: auth.add_user("", "pass"),
            lambda: auth.user(""),
            lambda: auth.remove_role(""),
        ):
            self.assertRaises(ValueError, wrong)

    def test_an_unknown_outcome(self) -> None:
        agent = StubAgent(a=Hang(), b=Reply(200, b""))
        changing = agent.client().auth.enable(timeout_seconds=1)
        agent.clock.advance(1)
        self.failureResultOf(changing, OutcomeUnknown)
        self.assertEqual(agent.asked(), ["http://a:4001"])


class RefusalTests(SynchronousTestCase):
    """A request without the right is refused once: no other machine is asked, and the outcome is known."""

    def test_each_kind_of_request_is_refused_once(self) -> None:
        refusals = (Reply(401, NO_RIGHT), Reply(401, NO_RIGHT_ON_KEYS), Reply(401, b"<html>a proxy's own page</html>"))
        for refusal in refusals:
            for name, arguments in (
                ("get", ("/key",)),
                ("set", ("/key", "1")),
                ("compare_and_delete", ("/key",)),
                ("create_in_order", ("/key", "1")),
                ("members", ()),
            ):
                agent = StubAgent(a=refusal, b=Reply(), c=Reply())
                client = agent.client(credentials=("ben", "wrong"))
                options = {"previous_index": 7} if name == "compare_and_delete" else {}
                failure = self.failureResultOf(getattr(client, name)(*arguments, **options), InsufficientCredentials)
                self.assertEqual(failure.value.code, 110)
                agent.clock.advance(60)
                self.assertEqual([sent.credentials for sent in agent.sent], [("ben", "wrong")])
            for request in (agent.client().auth.users(), agent.client().auth.enable(), agent.client().admin.config()):
                self.failureResultOf(request, InsufficientCredentials)
            self.assertEqual(len(agent.sent), 4)

    def test_a_password_is_in_no_text(self) -> None:
        agent = StubAgent(a=Reply(401, NO_RIGHT))
        failure = self.failureResultOf(agent.client().auth.add_user("ben", "secret", ["web"]), InsufficientCredentials)
        self.assertNotIn("secret", failure.getTraceback(elideFrameworkCode=True) + repr(failure.value))
