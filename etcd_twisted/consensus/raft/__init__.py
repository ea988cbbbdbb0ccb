"""
The Raft core: it takes ticks, messages and proposals, and hands back what to persist, what to send and what is
committed.

Nothing in here must ever open a file or a socket, read a clock, start a thread or import Twisted. Only the election
timer is random, and its random numbers come from a seed. So a whole cluster runs inside one test, and a seed
reproduces any failure.
"""
