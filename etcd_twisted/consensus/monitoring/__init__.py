"""
What a machine knows of the others of its group and tells its operator: statuses, latencies, warnings in the log.

Must never change what happens: without it the group would do the same.
"""
