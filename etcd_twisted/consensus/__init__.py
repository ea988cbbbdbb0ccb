"""
Raft: the core that decides, the log that remembers, and the replica that drives both.

The core does no I/O; the disk belongs to one writer thread; everything else runs on the reactor.
"""
