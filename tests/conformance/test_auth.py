"""
The pages of users and roles answer as etcd 3.4 does, but where there is a ruling.
"""

from etcd_twisted.web.auth import passwords
from tests.conformance.cases import ConformanceTest, add_test
from tests.conformance.etcd2 import Etcd2Player, right
from tests.web.auth.threads import COST
from tests.wires import ServedTest

PAGES = (
    "auth-paths-and-methods", "auth-users", "auth-user-bodies", "auth-user-names", "auth-user-roles", "auth-user-root",
    "auth-roles", "auth-role-grants", "auth-role-bodies", "auth-enable", "auth-other-root",
)  # fmt: skip
"""The scenarios that ask for nothing but these pages."""


class PagesTests(ConformanceTest, ServedTest):
    """The server is the client port over a fake replica."""

    player = Etcd2Player

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
