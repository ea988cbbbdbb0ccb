"""
The commands that change the key space, as they stand in the log.

A command carries everything its effect depends on: the time at which the leader took it, the absolute time at
which a TTL ends. Applying it must never read anything else. The layout is the format on disk (C{docs/storage.md}):
fields are only ever added at the end, with defaults, and a tag must never change its meaning.

Times are microseconds since the epoch.
"""

from typing import Final

import msgspec


class Set(msgspec.Struct, array_like=True, frozen=True, gc=False, tag="set"):
    """Put a file, or with C{directory} a directory, whether or not a file is there."""

    key: str
    time: int
    value: str = ""
    directory: bool = False
    expires: int | None = None


class Create(msgspec.Struct, array_like=True, frozen=True, gc=False, tag="create"):
    """Put a file or a directory where nothing is."""

    key: str
    time: int
    value: str = ""
    directory: bool = False
    expires: int | None = None


class CreateInOrder(msgspec.Struct, array_like=True, frozen=True, gc=False, tag="post"):
    """Put a file or a directory into the directory C{key}, named by the index it is created at."""

    key: str
    time: int
    value: str = ""
    directory: bool = False
    expires: int | None = None


class Update(msgspec.Struct, array_like=True, frozen=True, gc=False, tag="update"):
    """
    Change value and TTL of a file, or the TTL of a directory.

    @ivar directory: of a directory, C{value} says nothing; without it, a directory takes no value that is not empty.
    """

    key: str
    time: int
    value: str = ""
    directory: bool = False
    expires: int | None = None


class Refresh(msgspec.Struct, array_like=True, frozen=True, gc=False, tag="refresh"):
    """Change the TTL and nothing else, unseen by watchers."""

    key: str
    time: int
    expires: int


class SetTtl(msgspec.Struct, array_like=True, frozen=True, gc=False, tag="setttl"):
    """Set an existing file again with the same value and another TTL, without telling watchers."""

    key: str
    time: int
    expires: int


class CompareAndSwap(msgspec.Struct, array_like=True, frozen=True, gc=False, tag="cas"):
    """
    Change value and TTL of a file that is as expected.

    @ivar value: the new value; C{None} keeps the old one and tells no watcher, as L{Refresh} does.
    @ivar previous_value: what the value must be, or C{None} for anything.
    @ivar previous_index: what the modified index must be, or 0 for anything.
    """

    key: str
    time: int
    value: str | None
    expires: int | None = None
    previous_value: str | None = None
    previous_index: int = 0


class SetOrSwap(msgspec.Struct, array_like=True, frozen=True, gc=False, tag="setswap"):
    """
    Do what L{CompareAndSwap} does without a condition where a node is, and what L{Set} does where none is.

    A command of its own: a L{CompareAndSwap} without a condition in an older log fails where no node is.

    @ivar directory: of a node that is missing; what is there is swapped whatever this says.
    """

    key: str
    time: int
    value: str = ""
    directory: bool = False
    expires: int | None = None


class Delete(msgspec.Struct, array_like=True, frozen=True, gc=False, tag="delete"):
    """
    Remove a file, with C{directory} also an empty directory, with C{recursive} whatever is there.
    """

    key: str
    time: int
    directory: bool = False
    recursive: bool = False


class CompareAndDelete(msgspec.Struct, array_like=True, frozen=True, gc=False, tag="cad"):
    """Remove a file that is as expected; the conditions are L{CompareAndSwap}'s."""

    key: str
    time: int
    previous_value: str | None = None
    previous_index: int = 0


class Expire(msgspec.Struct, array_like=True, frozen=True, gc=False, tag="expire"):
    """
    Remove what has expired, the earliest first.

    @ivar time: the cut-off: what expires then or earlier goes.
    @ivar limit: how many nodes at the most, so that one command can't hold a machine up.
    """

    time: int
    limit: int


Change = (
    Set | Create | CreateInOrder | Update | Refresh | SetTtl | CompareAndSwap | SetOrSwap | Delete | CompareAndDelete
)
"""What a client may ask for."""

MAKING: Final = (Set, Create, CreateInOrder, SetOrSwap)
"""Those that may make a node."""

LATER: Final = (SetTtl, SetOrSwap)
"""
Those that the first version of this program does not know: it ends when it finds one in its log. See
L{etcd_twisted.keyspace.space.KeySpace.in_earlier_commands}.
"""

Command = Change | Expire

encode_command = msgspec.msgpack.Encoder().encode
decode_command = msgspec.msgpack.Decoder(Command).decode
