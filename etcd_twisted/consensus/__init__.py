"""
One machine's copy of the key space, kept in step with the others by Raft.

C{raft/} decides and does no I/O; C{storage/} writes and reads files, on the one thread that waits for the disk;
everything else runs on the reactor. L{etcd_twisted.consensus.node} drives the core with a disk, a messenger and a
state machine; L{etcd_twisted.consensus.local_member} puts the parts of a member together;
L{etcd_twisted.consensus.replica} is what the doors see of it, and L{etcd_twisted.consensus.participation} owns both.
Each object holds only those below it. News travels upward through a Deferred, or through a list of observers.

A change goes from C{replica} to C{proposals/proposer}, C{node}, C{raft/core} and C{raft/log}. In the next turn of the
reactor it goes to the disk and to the other machines. Once a quorum has it, C{node} hands it to C{state_machine}, and
C{proposals/pending} tells the proposer its outcome.
"""
