"""
The fuzzing itself: that it runs, finds what is wrong, and says how to repeat it.
"""

import io
from collections.abc import Callable
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from etcd_twisted.consensus import recovery
from etcd_twisted.consensus.raft.follower import Follower
from etcd_twisted.httpd import fast
from etcd_twisted.peer.connected_machines import ConnectedMachines
from tests.fuzz.engines import by_hypothesis
from tests.fuzz.targets import TARGETS
from tests.processes.child import SOURCE

FEW = 15
ENOUGH = 1_000
"""Examples until a planted fault is found; the first one of them ends it."""


class RunTests(SynchronousTestCase):
    """The program as it is."""

    def test_targets(self) -> None:
        """Each of them passes, in short."""
        for target in TARGETS.values():
            out = io.StringIO()
            self.assertTrue(by_hypothesis(target, 0.0, 0, FEW, out), out.getvalue())
            self.assertTrue(out.getvalue().startswith(f"{target.name}: {FEW} examples, of seeds 0 to 0, in "))

    def test_in_ci(self) -> None:
        """They are run there."""
        self.assertIn("\ncheck fuzz ", (SOURCE / ".ci" / "run").read_text())


class FaultTests(SynchronousTestCase):
    """A program with a fault in it."""

    def assert_found(self, name: str, *words: str) -> None:
        """It is found, and shown with an example and how to repeat that."""
        out = io.StringIO()
        self.assertFalse(by_hypothesis(TARGETS[name], 0.0, 0, ENOUGH, out, shrink=False), "nothing was found")
        again = f"make fuzz FUZZ_ENGINE=hypothesis FUZZ_TARGET={name} FUZZ_SEED=0 FUZZ_EXAMPLES={ENOUGH} "
        for each in ("Failing test case", *words, again + "FUZZ_SECONDS=0\n"):
            self.assertIn(each, out.getvalue())

    def test_doors(self) -> None:
        """The fast door sends a body with the answer to C{HEAD}."""
        whole = fast.in_one_piece
        self.patch(fast, "in_one_piece", lambda connection, _method, response: whole(connection, b"GET", response))
        self.assert_found("doors", "the fast one", "HEAD /")

    def test_peers(self) -> None:
        """Machines that have gone are not forgotten."""
        self.patch(ConnectedMachines, "remove", lambda *_: None)
        self.assert_found("peers", "a machine that has gone is still a visitor")

    def test_raft(self) -> None:
        """A follower takes entries that don't follow those that it has; found again from the same seed."""
        self.patch(Follower, "_agrees", lambda *_: True)
        outs = [io.StringIO(), io.StringIO()]
        for out in outs:
            self.assertFalse(by_hypothesis(TARGETS["raft"], 0.0, 7, ENOUGH, out), "nothing was found")
        first, second = (out.getvalue().partition("Failing test case")[2] for out in outs)
        self.assertEqual(first, second)
        self.assertIn("FUZZ_SEED=7", first)

    def test_storage(self) -> None:
        """A log that does not follow the snapshot is taken all the same."""
        unchecked: Callable[[Any, Any], None] = lambda *_: None  # noqa: E731
        self.patch(recovery, "_check_reaches", unchecked)
        self.assert_found("storage")
