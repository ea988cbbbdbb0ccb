"""
Encodes, sends and counts the messages that a machine exchanges with the others of its group.

It must never encode again what it has just encoded for another machine, nor count as sent what could not be sent.
"""

from collections.abc import Callable

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime

from etcd_twisted.consensus.monitoring.latencies import Latencies
from etcd_twisted.consensus.raft.messages import Append, AppendReply, Message, encode_messages, goes_ahead
from etcd_twisted.consensus.raft.state import RaftState
from etcd_twisted.consensus.snapshots.sending import SnapshotSender
from etcd_twisted.interfaces import ITransport
from etcd_twisted.interfaces.statistics import Traffic


class Messenger:
    """The messenger of one machine, which L{etcd_twisted.consensus.node.Node} sends through."""

    def __init__(
        self, clock: IReactorTime, raft: RaftState, transport: ITransport, traffic: Traffic, snapshots: SnapshotSender
    ) -> None:
        """
        @param raft: the Raft state of this machine.
        @param traffic: counts the messages and their bytes.
        """
        self._clock = clock
        self._raft = raft
        self._transport = transport
        self._traffic = traffic
        self._snapshots = snapshots
        self._latencies = Latencies(traffic)
        self._led_term = 0
        self._encoded_last: tuple[list[Message], bytes] = ([], b"")

    def send(self, machine_id: str, messages: list[Message]) -> None:
        """See L{etcd_twisted.consensus.node.MessageSender}."""
        transport = self._transport
        if len(messages) == 1:
            self._carry(transport.send_ahead if goes_ahead(messages[0]) else transport.send, machine_id, messages)
            return
        ahead = [message for message in messages if goes_ahead(message)]
        if ahead:
            self._carry(transport.send_ahead, machine_id, ahead)
        if len(ahead) < len(messages):
            behind = [message for message in messages if not goes_ahead(message)]
            self._carry(transport.send, machine_id, behind)

    def send_snapshot(self, machine_id: str, term: int) -> "Deferred[None]":
        """See L{etcd_twisted.consensus.node.MessageSender}."""

        def count(length: int) -> None:
            self._traffic.add_sent(machine_id, length)

        return self._snapshots.send(machine_id, term).addCallback(count)

    def _carry(self, send: Callable[[str, bytes], bool], machine_id: str, messages: list[Message]) -> None:
        """Send messages and count them. What goes to several machines is encoded once."""
        if messages != self._encoded_last[0]:
            self._encoded_last = (messages, encode_messages(messages))
        payload = self._encoded_last[1]
        appends = 0
        now = self._clock.seconds()
        if self._raft.leadership is not None:
            for message in messages:
                if isinstance(message, Append):
                    appends += 1
                    if message.round:
                        self._latencies.sent(self._name_of(machine_id), message, now)
        if send(machine_id, payload):
            self._traffic.add_sent(machine_id, len(payload))
            if appends:
                self._traffic.sent.add(now, len(payload), appends)

    def _name_of(self, machine_id: str) -> str:
        member = self._raft.member(machine_id)
        return machine_id if member is None else member.name

    def heard(self, sender: str, messages: list[Message], length: int) -> None:
        """
        Count messages from another machine.

        @param length: the length of all of them on the wire, in bytes.
        """
        now = self._clock.seconds()
        self._traffic.add_received(sender, length)
        if self._raft.leadership is None:
            appends = len([message for message in messages if isinstance(message, Append)])
            if appends:
                self._traffic.received.add(now, length, appends)
        else:
            for message in messages:
                if isinstance(message, AppendReply):
                    self._latencies.answered(self._name_of(sender), message, now)

    def lost(self, machine_id: str) -> None:
        """Note that the last messages to a machine may be lost."""
        if self._raft.leadership is not None:
            self._latencies.lost(self._name_of(machine_id))

    def changed(self) -> None:
        """Follow a change of the role, the term or the group."""
        raft = self._raft
        members = raft.configuration.members
        self._traffic.keep(members.keys() - {raft.machine_id})
        if raft.leadership is None:
            self._latencies.clear()
            return
        if self._led_term != raft.term:
            self._led_term = raft.term
            self._latencies.clear()
        self._latencies.keep({member.name for member in members.values()})
