"""
Tests of the fuzzing itself: that it runs, finds faults, and says how to repeat them.
"""

import io
from collections.abc import Callable
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from etcd_twisted.consensus import recovery
from etcd_twisted.consensus.raft.follower import Follower
from etcd_twisted.httpd.fast import channel as fast
from etcd_twisted.peer.connected_machines import ConnectedMachines
from tests.fuzz.engines import by_hypothesis
from tests.fuzz.targets import TARGETS
from tests.processes.child import SOURCE

FEW = 15
ENOUGH = 1_000
"""How many examples are tried at most until a planted fault is found; the first that finds it ends the run."""


class RunTests(SynchronousTestCase):
    """Tests with the program as it is."""

    def test_each_target_passes(self) -> None:
        """Each target passes a short run."""
        for target in TARGETS.values():
            out = io.StringIO()
            self.assertTrue(by_hypothesis(target, 0.0, 0, FEW, out), out.getvalue())
            self.assertTrue(out.getvalue().startswith(f"{target.name}: {FEW} examples, of seeds 0 to 0, in "))

    def test_targets_are_run_in_ci(self) -> None:
        """The targets are run in CI."""
        self.assertIn("\ncheck fuzz ", (SOURCE / ".ci" / "run").read_text())


class FaultTests(SynchronousTestCase):
    """Tests with a fault in the program."""

    def assert_found(self, name: str, *words: str) -> None:
        """Asserts that the fault is found, and shown with an example and how to repeat it."""
        out = io.StringIO()
        self.assertFalse(by_hypothesis(TARGETS[name], 0.0, 0, ENOUGH, out, shrink=False), "nothing was found")
        again = f"make fuzz FUZZ_ENGINE=hypothesis FUZZ_TARGET={name} FUZZ_SEED=0 FUZZ_EXAMPLES={ENOUGH} "
        for each in ("Failing test case", *words, again + "FUZZ_SECONDS=0\n"):
            self.assertIn(each, out.getvalue())

    def test_fault_in_a_door_is_found(self) -> None:
        """The run finds that the fast door sends a body with the answer to C{HEAD}."""
        self.patch(fast, "_HEAD", b"no method")
        self.assert_found("doors", "the fast one", "HEAD /")

    def test_fault_in_the_peer_port_is_found(self) -> None:
        """The run finds that machines that have gone are not forgotten."""
        self.patch(ConnectedMachines, "remove", lambda *_: None)
        self.assert_found("peers", "a machine that has gone is still a visitor")

    def test_fault_in_the_raft_core_is_found(self) -> None:
        """
        The run finds, again from the same seed, that a follower takes entries that don't follow those that it has.
        """
        self.patch(Follower, "_agrees", lambda *_: True)
        outs = [io.StringIO(), io.StringIO()]
        for out in outs:
            self.assertFalse(by_hypothesis(TARGETS["raft"], 0.0, 7, ENOUGH, out), "nothing was found")
        first, second = (out.getvalue().partition("Failing test case")[2] for out in outs)
        self.assertEqual(first, second)
        self.assertIn("FUZZ_SEED=7", first)

    def test_fault_in_storage_is_found(self) -> None:
        """The run finds that a log that does not follow the snapshot is accepted."""
        unchecked: Callable[[Any, Any], None] = lambda *_: None  # noqa: E731
        self.patch(recovery, "_check_reaches", unchecked)
        self.assert_found("storage")
