"""
What the cluster keeps of members beside the group itself: those that were added by a request and are awaited, under
which ids others are shown, and which were removed for good.

A record is a key below L{DIRECTORY}. A machine that has none is shown by its fingerprint, and may join by itself. This
module must never decide who is a member: an awaited machine has no vote, nor does it count for a quorum, until it has
started, joined and caught up.
"""

from collections.abc import Iterable, Mapping

import msgspec

from etcd_twisted.interfaces.cluster import Machine
from etcd_twisted.keyspace.paths import join

DIRECTORY = "/_etcd/members"
"""The directory of the records."""


class MemberRecord(msgspec.Struct, frozen=True, rename="camel"):
    """
    A machine that was added by a request, or was removed for good.

    @ivar id: the id that clients see, which is no other machine's.
    @ivar peer_url: where it is awaited.
    @ivar fingerprint: that of the machine that has come; see L{etcd_twisted.interfaces.cluster.fingerprint}. Empty
        while the machine is awaited.
    @ivar removed: whether it was removed, so that there is no such member any more. Until the group has changed too,
        it is still shown by its id: if that change fails, the request to remove it is repeated.
    """

    id: str
    peer_url: str = ""
    fingerprint: str = ""
    removed: bool = False

    @property
    def key(self) -> str:
        """The key at which it is stored."""
        return join(DIRECTORY, self.id)

    @property
    def value(self) -> str:
        """The value of its key."""
        return msgspec.json.encode(self).decode()

    @property
    def awaited(self) -> bool:
        """Whether the machine has yet to come."""
        return not (self.fingerprint or self.removed)


def shown_members(members: Mapping[str, Machine], records: Iterable[MemberRecord]) -> dict[str, Machine]:
    """
    Returns the machines of a cluster by the ids that clients see, and then those that are awaited, without names.

    An awaited machine has come as soon as a member is where it is awaited: its record may say so later.

    @param members: the members by fingerprint.
    """
    ids, leaving, awaited = dict[str, str](), dict[str, str](), dict[str, str]()
    for record in records:
        if record.awaited:
            awaited[record.peer_url] = record.id
        else:
            (leaving if record.removed else ids)[record.fingerprint] = record.id
    shown = {}
    for fingerprint, machine in members.items():
        arrived = awaited.pop(machine.peer_url, None)
        shown[ids.get(fingerprint) or arrived or leaving.get(fingerprint) or fingerprint] = machine
    return shown | {member_id: Machine("", "", peer_url) for peer_url, member_id in awaited.items()}
