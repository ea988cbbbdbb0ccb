"""
Whole clusters in one process, on a fake clock, from one seed (design, "Models to learn from").

Everything of a machine is real but for what it stands on: its clock, its disk, its network and its thread are here,
and fail as such things do. After every step the cluster is held to what Raft promises, and at the end to what its
clients were promised. The same seed gives the same run, so that a failure is a number:
C{make simulate SEED=n} shows it again.
"""
