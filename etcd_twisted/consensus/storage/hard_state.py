"""
What a machine must know even if its log is lost: its term, its vote, and which segment of the log is the newest.

The log holds the same. With this file, a log whose newest segment is missing can be told from one that ends there, and
the machine does not vote twice in one term if the end of its log is lost. The file is written when the term or the
vote changes and when a segment is begun, and so never for a write of a client.

The file must never be behind the log, but may be ahead of it by the change that was being made when the machine
stopped. This module blocks, and knows no reactor.
"""

from pathlib import Path

import attrs

from etcd_twisted.consensus.raft.entries import HardState
from etcd_twisted.consensus.storage.checked import Checked, load_checked, save_checked


@attrs.frozen(slots=True)
class State:
    """
    The content of the state file.

    @ivar machine_id: the id of the machine that it belongs to.
    @ivar segment: the number of the newest segment that is whole on the disk.
    """

    machine_id: str
    hard_state: HardState
    segment: int


class _StateFile(Checked, frozen=True, kw_only=True):
    machine_id: str
    term: int
    vote: str
    segment: int


class StateFile:
    """
    The state file of one machine.

    @ivar path: the path of the file.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._saved: State | None = None

    def load(self) -> State | None:
        """
        Returns what was saved last, or C{None} if nothing was. An early version of this program had no such file.

        @raise StorageError: the file is damaged, or can't be read.
        """
        file = load_checked(self.path, _StateFile)
        self._saved = None if file is None else State(file.machine_id, HardState(file.term, file.vote), file.segment)
        return self._saved

    def save(self, state: State) -> None:
        """
        Make a state durable, unless it is already.

        @raise OSError: the disk failed or is full.
        """
        if state != self._saved:
            hard_state = state.hard_state
            save_checked(
                self.path,
                _StateFile(
                    machine_id=state.machine_id, term=hard_state.term, vote=hard_state.vote, segment=state.segment
                ),
            )
            self._saved = state
