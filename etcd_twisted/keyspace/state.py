"""
What a key space holds at one moment, for a snapshot. This module must never change any of it.
"""

import attrs

from etcd_twisted.keyspace.events import Event
from etcd_twisted.keyspace.nodes import Directory
from etcd_twisted.keyspace.statistics import CommandCounts


@attrs.frozen
class KeySpaceState:
    """
    Everything in a key space at one moment. It does not change when the key space does.

    @ivar cleared_index: see L{History}.
    @ivar pads_in_order_keys: see L{KeySpace}.
    """

    root: Directory
    index: int
    counts: CommandCounts
    history: tuple[Event, ...]
    cleared_index: int
    pads_in_order_keys: bool = False
