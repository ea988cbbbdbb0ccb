"""
Membership of the group: how the leader changes it, which machines are forbidden, and whose messages are accepted.
"""
