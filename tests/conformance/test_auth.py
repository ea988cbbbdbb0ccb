"""
The pages of users and roles answer as etcd 3.4 does, but where there is a ruling.
"""

from etcd_twisted.web.auth import passwords
from tests.conformance.cases import Etcd2Test, add_test
from tests.conformance.etcd2 import right
from tests.web.auth.threads import COST
from tests.wires import ServedTest

PAGES = (
    "auth-paths-and-methods", "auth-users", "auth-user-bodies", "auth-user-names", "auth-user-roles", "auth-user-root",
    "auth-roles", "auth-role-grants", "auth-role-bodies", "auth-enable", "auth-other-root",
)  # fmt: skip
"""The scenarios that ask for nothing but these pages."""


class PagesTests(Etcd2Test, ServedTest):
    """The server is the client port over a fake replica."""

    async def setUp(self) -> None:
        """Has hashes cost less."""
        self.patch(passwords, "DEFAULT_COST", COST)
        await super().setUp()

    async def served(self) -> str:
        """Returns the URL of the port."""
        return f"http://127.0.0.1:{self.port}"


for name in PAGES:
    scenario, answers = right("auth")[name]
    add_test(PagesTests, scenario, answers, f"The scenario {name}.")
