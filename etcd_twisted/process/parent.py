"""
A process that ends with the one that has started it, even if it is stopped, or hangs.

This module must never import anything that takes long: until it has done its part, the process may outlive its parent.
"""

import ctypes
import signal
import sys

_PR_SET_PDEATHSIG = 1


def end_with_parent() -> None:
    """
    Ask the system to kill this process when its parent ends. Only Linux can do that. On other systems, a process that
    is stopped when its parent is killed stays, with its sockets, until somebody continues or kills it.

    The parent is the thread that has started this process: for a program that embeds the service, its reactor's.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
