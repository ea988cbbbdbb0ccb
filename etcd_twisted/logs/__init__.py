"""
What operators read: how the log is written, and how often the same may be said in it.

Must never decide what is worth saying: whoever says it does.
"""

from etcd_twisted.logs.rate_limit import Complaints

__all__ = ["Complaints"]
