"""
The log that operators read: how it is written, and how many lines one cause may have in it.

This package must never decide what is worth a line: its callers do.
"""

from etcd_twisted.logs.rate_limit import RateLimitedLog

__all__ = ["RateLimitedLog"]
