"""
The files of a machine: the write-ahead log, the snapshots and the hard state; and the thread that waits for the disk.

Everything in here blocks, so it is called only at the start or on the disk thread. It must never know what a command
or a snapshot means, nor that there are other machines.
"""
