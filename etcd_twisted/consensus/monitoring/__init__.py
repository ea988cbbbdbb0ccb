"""
What a machine tells its operator about its group: statuses, latencies and warnings in the log.

This package must never influence the group, which would behave in the same way without it.
"""
