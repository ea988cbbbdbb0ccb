"""
Snapshots: taking them, sending them to other machines and receiving them from a leader.

This package must never shorten a log, or replace a key space, before the snapshot that covers it is durable.
"""
