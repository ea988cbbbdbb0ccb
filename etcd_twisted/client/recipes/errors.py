"""
What recipes raise beside the exceptions of the client.

This module must never hold what a request can raise: that is in L{etcd_twisted.client.errors}.
"""

from etcd_twisted.client import ClientError


class AlreadyHeld(ClientError):
    """This object holds it already, or is about to. It would wait for itself; use another object."""


class NotHeld(ClientError):
    """It is not held: it never was, it was released, or it was lost. The text says which."""


class NotAcquired(ClientError):
    """Others have held it for as long as the caller would wait."""


class QueueEmpty(ClientError):
    """There was no item to take for as long as the caller would wait, or others were before it in the line."""


class NotOpened(ClientError):
    """The barrier or the gate did not open for as long as the caller would wait."""


class Contended(ClientError):
    """Others have changed the key during each attempt. Nothing was changed by this one."""


class NotANumber(ClientError):
    """The key of a counter holds something that is no number."""


class AlreadyClosed(ClientError):
    """It was closed, and can't be used again."""
