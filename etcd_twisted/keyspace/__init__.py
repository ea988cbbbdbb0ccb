"""
The replicated state machine: a tree of keys, the commands that change it, the events they make.

Nothing in here must ever read a clock, a file, a socket or a source of randomness, so that the same log
gives the same tree, byte for byte, on every machine.
"""

from etcd_twisted.keyspace.commands import (
    Change,
    CompareAndDelete,
    CompareAndSwap,
    Create,
    CreateInOrder,
    Delete,
    Refresh,
    Set,
    SetOrSwap,
    SetTtl,
    Update,
)
from etcd_twisted.keyspace.events import Event
from etcd_twisted.keyspace.expiry import ExpirySchedule
from etcd_twisted.keyspace.nodes import Directory, File, Node
from etcd_twisted.keyspace.paths import ROOT, clean, parent
from etcd_twisted.keyspace.space import KeySpace
from etcd_twisted.keyspace.watchers import Watcher

__all__ = [
    "ROOT",
    "Change",
    "CompareAndDelete",
    "CompareAndSwap",
    "Create",
    "CreateInOrder",
    "Delete",
    "Directory",
    "Event",
    "ExpirySchedule",
    "File",
    "KeySpace",
    "Node",
    "Refresh",
    "Set",
    "SetOrSwap",
    "SetTtl",
    "Update",
    "Watcher",
    "clean",
    "parent",
]
