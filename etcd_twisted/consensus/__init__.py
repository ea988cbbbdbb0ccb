"""
One machine's copy of the key space, kept in step with the others by Raft.

C{raft/} decides and does no I/O; C{storage/} remembers, on the one thread that waits for the disk; everything else
runs on the reactor. L{etcd_twisted.consensus.node} drives the core with a disk, a messenger and a state machine;
L{etcd_twisted.consensus.member} puts a member of the group together; L{etcd_twisted.consensus.doors} is what the doors
see of it. Each object holds those below it: what happens there is told by a Deferred, or to those who have added
themselves to a list of observers.

A change goes from C{doors} to C{proposals/proposer}, C{node}, C{raft/core} and C{raft/log}; in the next turn of the
reactor it goes to the disk and to the other machines; when a quorum has it, C{node} hands it to C{state_machine}, and
C{proposals/pending} knows who is told what it did.
"""
