"""
What operators read: how the log is written, and how many lines one cause may have in it.

This package must never decide what is worth a line: whoever logs it does.
"""

from etcd_twisted.logs.rate_limit import RateLimitedLog

__all__ = ["RateLimitedLog"]
