"""
The commands that change the key space, as they are in the log.

A command carries everything that its effect depends on: the time at which the leader took it, and the absolute time at
which a TTL ends. Applying it must never read anything else. The layout is the format on disk (C{docs/storage.md}):
fields are only ever added at the end, with defaults, and a tag must never change its meaning.

Times are microseconds since the epoch.
"""

from typing import Final

import msgspec


class Set(msgspec.Struct, array_like=True, frozen=True, gc=False, tag="set"):
    """Put a file, or with C{directory} a directory, whether or not there is a file."""

    key: str
    time: int
    value: str = ""
    directory: bool = False
    expires: int | None = None


class Create(msgspec.Struct, array_like=True, frozen=True, gc=False, tag="create"):
    """Put a file or a directory where there is nothing."""

    key: str
    time: int
    value: str = ""
    directory: bool = False
    expires: int | None = None


class CreateInOrder(msgspec.Struct, array_like=True, frozen=True, gc=False, tag="post"):
    """Put a file or a directory into the directory C{key}, and name it by the index at which it is created."""

    key: str
    time: int
    value: str = ""
    directory: bool = False
    expires: int | None = None


class Update(msgspec.Struct, array_like=True, frozen=True, gc=False, tag="update"):
    """
    Change the value and TTL of a file, or the TTL of a directory.

    @ivar directory: whether C{value} is ignored when a directory is there. Otherwise the command fails for a
        directory, unless C{value} is empty.
    """

    key: str
    time: int
    value: str = ""
    directory: bool = False
    expires: int | None = None


class Refresh(msgspec.Struct, array_like=True, frozen=True, gc=False, tag="refresh"):
    """Change the TTL and nothing else. Watchers do not see it."""

    key: str
    time: int
    expires: int


class SetTtl(msgspec.Struct, array_like=True, frozen=True, gc=False, tag="setttl"):
    """Set an existing file again, with the same value and another TTL. Watchers do not see it."""

    key: str
    time: int
    expires: int


class CompareAndSwap(msgspec.Struct, array_like=True, frozen=True, gc=False, tag="cas"):
    """
    Change the value and TTL of a file that is as expected.

    @ivar value: the new value; C{None} keeps the old one and is not seen by watchers, as with L{Refresh}.
    @ivar previous_value: the value that the file must have, or C{None} for any.
    @ivar previous_index: the modified index that the file must have, or 0 for any.
    """

    key: str
    time: int
    value: str | None
    expires: int | None = None
    previous_value: str | None = None
    previous_index: int = 0


class SetOrSwap(msgspec.Struct, array_like=True, frozen=True, gc=False, tag="setswap"):
    """
    Do what L{CompareAndSwap} without a condition does where there is a node, and what L{Set} does where there is none.

    It is a command of its own, since a L{CompareAndSwap} without a condition in an older log fails where there is no
    node.

    @ivar directory: whether to put a directory where there is no node. A file that is there is swapped in any case.
    """

    key: str
    time: int
    value: str = ""
    directory: bool = False
    expires: int | None = None


class Delete(msgspec.Struct, array_like=True, frozen=True, gc=False, tag="delete"):
    """
    Remove a file; with C{directory} also an empty directory, and with C{recursive} whatever is there.
    """

    key: str
    time: int
    directory: bool = False
    recursive: bool = False


class CompareAndDelete(msgspec.Struct, array_like=True, frozen=True, gc=False, tag="cad"):
    """Remove a file that is as expected. The conditions are those of L{CompareAndSwap}."""

    key: str
    time: int
    previous_value: str | None = None
    previous_index: int = 0


class Expire(msgspec.Struct, array_like=True, frozen=True, gc=False, tag="expire"):
    """
    Remove nodes that have expired, the earliest first.

    @ivar time: the cut-off: nodes that expire then or earlier are removed.
    @ivar limit: how many nodes to remove at most, so that one command can't hold up a machine.
    """

    time: int
    limit: int


class PadInOrderKeys(msgspec.Struct, array_like=True, frozen=True, gc=False, tag="pad"):
    """
    Name all in-order keys from here on by 20 digits, with zeros in front of the index. No client sees this command.

    The leader of a new cluster logs it before anything else, so that no other names are there. It has a tag that
    earlier versions do not know: they stop when they find it in their log, and would make other names than this one.
    """

    time: int


Change = (
    Set | Create | CreateInOrder | Update | Refresh | SetTtl | CompareAndSwap | SetOrSwap | Delete | CompareAndDelete
)
"""The commands that a client may ask for."""

CREATING_COMMANDS: Final = (Set, Create, CreateInOrder, SetOrSwap)
"""Those that may create a node."""

NEWER_COMMANDS: Final = (SetTtl, SetOrSwap)
"""
Those that the first version of this program does not know: it stops when it finds one in its log. See
L{etcd_twisted.keyspace.space.KeySpace.as_earlier_command}.
"""

Command = Change | Expire | PadInOrderKeys

encode_command = msgspec.msgpack.Encoder().encode
decode_command = msgspec.msgpack.Decoder(Command).decode
