"""
Locks, elections, queues and more, built on the client: see C{docs/client.md}.

The names below are public; the modules behind them may change. This package must never reach behind the public face of
L{etcd_twisted.client}.
"""

from etcd_twisted.client.recipes.barrier import Barrier, Gate
from etcd_twisted.client.recipes.cache import Cache
from etcd_twisted.client.recipes.counter import Counter
from etcd_twisted.client.recipes.election import Election, Leadership, Observation
from etcd_twisted.client.recipes.errors import (
    AlreadyClosed,
    AlreadyHeld,
    Contended,
    NotAcquired,
    NotANumber,
    NotHeld,
    NotOpened,
    QueueEmpty,
)
from etcd_twisted.client.recipes.lease import Loss
from etcd_twisted.client.recipes.lock import Hold, Lock, Semaphore
from etcd_twisted.client.recipes.mirror import Mirror
from etcd_twisted.client.recipes.queue import Item, PriorityQueue, Queue
from etcd_twisted.client.recipes.registration import Registration
from etcd_twisted.client.recipes.tree import Change

__all__ = [
    "AlreadyClosed",
    "AlreadyHeld",
    "Barrier",
    "Cache",
    "Change",
    "Contended",
    "Counter",
    "Election",
    "Gate",
    "Hold",
    "Item",
    "Leadership",
    "Lock",
    "Loss",
    "Mirror",
    "NotANumber",
    "NotAcquired",
    "NotHeld",
    "NotOpened",
    "Observation",
    "PriorityQueue",
    "Queue",
    "QueueEmpty",
    "Registration",
    "Semaphore",
]
