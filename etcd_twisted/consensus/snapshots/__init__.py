"""
Snapshots being taken, sent to other machines and received from them.

Must never shorten a log, or replace a key space, before the snapshot that stands for it is durable.
"""
