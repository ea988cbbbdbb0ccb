"""
Fuzzes the Raft core and the decoder of its messages: whatever the other machines of a group say, the core does not
raise, and never takes back what it has promised.
"""

import contextlib

import attrs
from hypothesis import strategies as st

from etcd_twisted.consensus.raft.entries import HardState
from etcd_twisted.consensus.raft.errors import NotLeaderError
from etcd_twisted.consensus.raft.messages import MOST_TERMS_AHEAD, Message, decode_messages
from tests.consensus.raft.group import Machine, alone
from tests.fuzz.peers import PAYLOADS
from tests.fuzz.target import Target, mangled

OWN, OTHERS = "a", ("b", "c", "d")
"""C{d} is in no configuration."""


@attrs.frozen
class Step:
    """
    Something that happens to a machine.

    @ivar what: a payload; or C{"tick"}, C{"stand"}, C{"propose"}, C{"save"} or C{"apply"}.
    """

    sender: str
    what: bytes | str


@attrs.frozen
class History:
    """
    What a machine has in its log, and what happens to it.

    @ivar terms: the terms of its entries.
    """

    terms: list[int]
    steps: list[Step]


_HAPPENINGS = st.sampled_from(["tick", "stand", "propose", "save", "save", "apply", "snapshot"])
_STEPS = st.builds(Step, st.sampled_from(OTHERS), PAYLOADS | PAYLOADS | PAYLOADS.flatmap(mangled) | _HAPPENINGS)
HISTORIES = st.builds(
    History, st.lists(st.integers(1, 4), max_size=5).map(sorted), st.lists(_STEPS, min_size=1, max_size=12)
)


def _check(history: History) -> None:
    machine = alone(OWN, "abc", history.terms)
    core = machine.core
    promised = _Promises(machine)
    for number, step in enumerate(history.steps):
        now = number * 0.1
        if isinstance(step.what, bytes):
            _receive(machine, step.sender, step.what, now)
        else:
            _happen(machine, step.what, now)
        core.to_send(now)
        promised.check()
    machine.save(1_000.0)
    machine.apply()
    promised.check()


def _receive(machine: Machine, sender: str, payload: bytes, now: float) -> None:
    """Receives a payload as a machine of a cluster does; one that can't be decoded is refused in one line."""
    messages: list[Message] = []
    refusal = "none"
    try:
        messages = decode_messages(payload)
    except ValueError as error:
        refusal = str(error)
    assert refusal.isprintable(), refusal
    for message in messages:
        if message.term <= machine.core.term + MOST_TERMS_AHEAD:
            machine.core.receive(sender, message, now)


def _happen(machine: Machine, what: str, now: float) -> None:
    core = machine.core
    match what:
        case "tick":
            core.tick(now)
        case "stand":
            core.campaign(now)
        case "propose":
            with contextlib.suppress(NotLeaderError):
                core.propose(b"mine")
        case "save":
            machine.save(now)
        case "snapshot":
            if machine.applied > machine.disk.snapshot.index:
                machine.take_snapshot()
        case _:
            machine.apply()


class _Promises:
    """What a machine has said, and must not take back (Raft paper, figures 2 and 3)."""

    def __init__(self, machine: Machine) -> None:
        self._machine = machine
        self._term = 0
        self._commit = 0
        self._durable = HardState()
        self._applied: list[bytes] = []

    def check(self) -> None:
        """
        Compares the machine with what it has promised.

        @raise AssertionError: something was taken back.
        """
        machine, core = self._machine, self._machine.core
        state, before = machine.disk.hard_state, self._durable
        assert core.term >= self._term, "the term goes back"
        assert core.commit_index >= self._commit, "the commit index goes back"
        assert core.commit_index <= machine.core.last_index, "what is not there is committed"
        assert state.term > before.term or state.vote == before.vote or not before.vote, "a vote is taken back"
        assert machine.state[: len(self._applied)] == self._applied, "what was applied is another one now"
        self._term, self._commit = core.term, core.commit_index
        self._durable = state
        self._applied = list(machine.state)


RAFT = Target("raft", HISTORIES, _check)
