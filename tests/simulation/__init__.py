"""
Simulates whole clusters in one process, on a fake clock, from one seed (design, "Models to learn from").

Everything in a machine is real except its clock, its disk, its network and its thread, which are simulated here, and
fail as the real ones do. After every step the cluster is checked against what Raft promises, and at the end against
what its clients were promised. The same seed gives the same run, so that a failure is a number: C{make simulate
SEED=n} shows it again.
"""
