"""
What a machine must remember even if its log is lost: its term, its vote, and which segment of the log is the newest.

The log holds the same. This file tells a log whose newest segment is missing from one that ends there, and keeps the
machine from voting twice in one term if the end of the log is lost. It is written when a term or a vote changes and
when a segment is begun, and so never for a write of a client.

Must never be behind the log, but may be ahead of it by the change that was being made when the machine stopped.
Blocking; knows no reactor.
"""

from pathlib import Path

import attrs

from etcd_twisted.consensus.raft.entries import HardState
from etcd_twisted.consensus.storage.checked import Checked, load_checked, save_checked


@attrs.frozen(slots=True)
class State:
    """
    The content of the file.

    @ivar machine_id: whose it is.
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
    The file of one machine.

    @ivar path: where it is.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._saved: State | None = None

    def load(self) -> State | None:
        """
        What was saved last; C{None} if nothing was, as by a version of this program that did not have the file.

        @raise StorageError: the file is damaged, or can't be read.
        """
        file = load_checked(self.path, _StateFile)
        self._saved = None if file is None else State(file.machine_id, HardState(file.term, file.vote), file.segment)
        return self._saved

    def save(self, state: State) -> None:
        """
        Make this durable, unless it is already.

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
