"""
Proposes changes: adds them to the log if they are valid, the quota has room for them and this machine leads.

It must never log a command that can't be read back and applied, nor one beyond the quota unless the cluster itself
needs it. It must never report a refusal of a change that is already in the log.
"""

from collections.abc import Callable
from typing import NoReturn, TypeVar

import msgspec
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.interfaces import IReactorTime

from etcd_twisted.consensus.monitoring.statuses import Statuses
from etcd_twisted.consensus.node import Node
from etcd_twisted.consensus.proposals.pending import Proposal, Proposals, outcome_callback
from etcd_twisted.consensus.proposals.quota import Quota
from etcd_twisted.consensus.raft.entries import Configuration
from etcd_twisted.consensus.raft.state import RaftState
from etcd_twisted.errors import ErrorCode, EtcdError
from etcd_twisted.interfaces import OutcomeCallback
from etcd_twisted.keyspace.commands import (
    CREATING_COMMANDS,
    NEWER_COMMANDS,
    Change,
    CreateInOrder,
    decode_command,
    encode_command,
)
from etcd_twisted.keyspace.events import LAST_MOMENT, Event
from etcd_twisted.keyspace.paths import SAFE_KEY_CHARACTERS, check_size, clean
from etcd_twisted.keyspace.space import KeySpace
from etcd_twisted.waiters import Waiters

_T = TypeVar("_T")

MOST_UNAPPLIED_BYTES = 64 << 20
"""How many bytes of proposals may wait to be applied before further changes wait. The last one may exceed it."""

MOST_WAITING_BYTES = 64 << 20
"""How many bytes of changes may wait to be proposed. With more than that, a change is refused at once."""

_UNCHECKED_BYTES = 64 << 10
"""How many bytes of changes may be proposed after one check of whether there is room for all of them."""

LONGEST_WAIT_SECONDS = 4.0
"""
How long a change may wait to be proposed. Clients give a request 5 seconds, and a refusal that comes too late leaves
them in doubt.
"""


def encoded(command: Change) -> bytes:
    """
    Returns a command as it is written to the log. It must be possible to read it back and apply it, since every later
    start does so.

    @raise EtcdError: see L{etcd_twisted.interfaces.IReplica.propose}.
    """
    try:
        data = encode_command(command)
        decode_command(data)
    except UnicodeEncodeError as error:
        raise EtcdError(ErrorCode.INVALID_FORM, f"text that is not UTF-8: {error}") from error
    except (msgspec.ValidationError, OverflowError, TypeError) as error:
        raise EtcdError(ErrorCode.INVALID_FIELD, f"not a command: {error}") from error
    key = command.key
    if clean(key) != key:
        raise EtcdError(ErrorCode.INVALID_FIELD, f"key: {key!r} is not clean; {clean(key)!r} is")
    # An existing node can be changed and removed, however long its key is.
    if len(key) > SAFE_KEY_CHARACTERS and isinstance(command, CREATING_COMMANDS):
        check_size(key, isinstance(command, CreateInOrder))
    expires: int | None = getattr(command, "expires", None)
    if expires is not None and not 0 <= expires <= LAST_MOMENT:
        cause = f"expires: {expires} is not in 0 to {LAST_MOMENT}, in microseconds since the epoch"
        raise EtcdError(ErrorCode.TTL_NOT_A_NUMBER, cause)
    return data


class Throttle:
    """
    Limits how much is proposed and not applied yet. Changes beyond that wait here, first come, first served.

    Proposals are held in memory until they are applied, and a disk may be slower than the clients. A change that is
    refused here was certainly not made.

    @ivar waiting_bytes: how many bytes of changes wait to be proposed.
    @ivar unapplied_bytes: see L{MOST_UNAPPLIED_BYTES}.
    """

    def __init__(
        self,
        clock: IReactorTime,
        proposals: Proposals,
        refusal: Callable[[], Exception],
        unapplied_bytes: int = MOST_UNAPPLIED_BYTES,
    ) -> None:
        """
        @param proposals: the proposals that are not applied yet.
        @param refusal: makes the error for a change that has waited for too long.
        @param unapplied_bytes: see L{MOST_UNAPPLIED_BYTES}.
        """
        self._clock = clock
        self._proposals = proposals
        self._refusal = refusal
        self.unapplied_bytes = unapplied_bytes
        self._waiting = Waiters()
        self.waiting_bytes = 0

    @property
    def is_open(self) -> bool:
        """Whether a change may be proposed without waiting."""
        return not self.waiting_bytes and self._proposals.size <= self.unapplied_bytes

    def wait(self, size: int) -> "Deferred[None]":
        """
        Wait until a change may be proposed.

        @param size: the size of the change, in bytes.
        @return: a Deferred that fires then. It errbacks if too much waits already, after L{LONGEST_WAIT_SECONDS}, or
            with the error passed to L{refuse}.
        """
        if self.waiting_bytes > MOST_WAITING_BYTES:
            return fail(self._refusal())
        self.waiting_bytes += size
        waiting = self._waiting.wait().addTimeout(LONGEST_WAIT_SECONDS, self._clock, self._too_late)
        return waiting.addBoth(self._waits_no_more, size)

    def _waits_no_more(self, result: _T, size: int) -> _T:
        self.waiting_bytes -= size
        return result

    def _too_late(self, _value: object, _timeout: float) -> NoReturn:
        raise self._refusal()

    def admit(self) -> None:
        """Let the changes proceed for which there is room now, as proposals were applied."""
        while self._waiting.waiting and self._proposals.size <= self.unapplied_bytes:
            self._waiting.fire_first()

    def refuse(self, error: Exception) -> None:
        """Fail all waiting changes with C{error}."""
        self._waiting.fail(error)


class Proposer:
    """The proposer of one member; see the module."""

    def __init__(
        self,
        raft: RaftState,
        node: Node,
        keyspace: KeySpace,
        proposals: Proposals,
        throttle: Throttle,
        quota: Quota,
        statuses: Statuses,
    ) -> None:
        """
        @param proposals: the proposals that are not applied yet.
        @param statuses: tells which version each of the other machines runs.
        """
        self._raft = raft
        self._node = node
        self._keyspace = keyspace
        self._proposals = proposals
        self._throttle = throttle
        self._quota = quota
        self._statuses = statuses

    def submit(self, command: Change, on_outcome: OutcomeCallback) -> bool:
        """See L{etcd_twisted.interfaces.IReplica.submit}."""
        raft, proposals = self._raft, self._proposals
        if not proposals.new and not raft.accepts_proposals:
            return False
        if type(command) in NEWER_COMMANDS:
            command = self._for_all_versions(command)
        data = encoded(command)
        size = len(data)
        if size > proposals.unchecked_bytes and not self._has_room(command, size):
            return False
        proposals.unchecked_bytes -= size
        proposals.size += size
        proposals.new.append((data, Proposal(command, raft.term, size, on_outcome)))
        if len(proposals.new) == 1:
            self._node.proposed()
        return True

    def _has_room(self, command: Change, size: int) -> bool:
        """
        Returns whether a change may be proposed now. If there is room for many more, these need not ask.

        @param size: how many bytes of data its entry has.
        @raise EtcdError: the quota has no room for it.
        """
        throttle, proposals = self._throttle, self._proposals
        if not throttle.is_open:
            return False
        most = size + _UNCHECKED_BYTES  # and no more commands than bytes
        if self._quota.has_room(most, most):
            proposals.unchecked_bytes = min(most, throttle.unapplied_bytes - proposals.size)
        else:
            self._check_quota(command, size)
        return True

    def _check_quota(self, command: Change, size: int) -> None:
        if not self._quota.has_room(size):
            self._node.log_proposals()
            self._quota.check(command)

    def propose(self, command: Change, always: bool = False) -> "Deferred[Event]":
        """
        Have a change logged, as soon as there is room for it.

        @param always: whether the change may exceed the quota, as the cluster itself needs it.
        @return: a Deferred that fires when the change is committed and applied, or errbacks; see
            L{etcd_twisted.interfaces.IReplica.propose}.
        @raise NotLeaderError: this machine does not lead.
        """
        command = self._for_all_versions(command)
        try:
            data = encoded(command)
        except EtcdError as error:
            error.index = self._keyspace.index
            return fail(error)
        if self._throttle.is_open:
            return self._propose_within_quota(command, data, always)
        return self._throttle.wait(len(data)).addCallback(lambda _: self._propose_within_quota(command, data, always))

    def reconfigure(self, configuration: Configuration) -> "Deferred[None]":
        """
        Propose a change of the group.

        @return: a Deferred that fires when the change is committed and applied.
        @raise NotLeaderError: this machine does not lead.
        @raise ConfigurationError: the group can't be changed now.
        """
        index = self._node.propose_configuration(configuration)
        made: Deferred[None] = Deferred()
        self._proposals.add(index, Proposal(None, self._raft.term, 0, outcome_callback(made)))
        return made

    def _for_all_versions(self, command: Change) -> Change:
        """
        Returns the command to log. While another voter may run an earlier version, that is an equivalent one that such
        a version knows too.
        """
        if type(command) not in NEWER_COMMANDS:
            return command
        others = set(self._raft.configuration.voters) - {self._raft.machine_id}
        return command if self._statuses.have_reported(others) else self._keyspace.as_earlier_command(command)

    def _propose_within_quota(self, command: Change, data: bytes, always: bool) -> "Deferred[Event]":
        made: Deferred[Event] = Deferred()
        if not always:
            try:
                self._check_quota(command, len(data))
            except EtcdError as error:
                return fail(error)
        self._propose(command, data, outcome_callback(made))
        return made

    def _propose(self, command: Change, data: bytes, on_outcome: OutcomeCallback) -> int:
        index = self._node.propose(data)
        self._proposals.add(index, Proposal(command, self._raft.term, len(data), on_outcome))
        self._node.proposed()
        return index

    # Changes that other machines forward

    def place(self, command: Change) -> int:
        """
        Propose a change whose outcome another machine waits for, if there is room for it now. Call
        L{Node.log_proposals} in the same turn of the reactor.

        @return: the index of its entry, which is in the log from then on; 0 if there is no room.
        @raise EtcdError: the command is refused; see L{etcd_twisted.interfaces.IReplica.propose}.
        """
        index = self._raft.log.last_index + len(self._proposals.new) + 1
        try:
            return index if self.submit(command, _nobody_waits) else 0
        except EtcdError as error:
            error.index = self._keyspace.index
            raise

    def when_room(self, size: int) -> "Deferred[None]":
        """Returns a Deferred that fires when a change of this size may be proposed; see L{Throttle.wait}."""
        return succeed(None) if self._throttle.is_open else self._throttle.wait(size)

    def place_after_wait(self, command: Change) -> int:
        """
        Put a change into the log whose outcome another machine waits for, after L{when_room}.

        @return: the index of its entry.
        @raise EtcdError: the command is refused; see L{etcd_twisted.interfaces.IReplica.propose}.
        @raise NotLeaderError: this machine does not lead.
        """
        command = self._for_all_versions(command)
        try:
            data = encoded(command)
        except EtcdError as error:
            error.index = self._keyspace.index
            raise
        self._check_quota(command, len(data))
        return self._propose(command, data, _nobody_waits)


def _nobody_waits(_: object) -> None:
    """Another machine waits for the outcome, and applies the entry itself."""
