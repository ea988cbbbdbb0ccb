"""
Reads the data directory of etcd 2.0 to 3.5: its snapshot, the write-ahead log behind it, and what both amount to.

This package must never write to that directory, nor guess: what it can't read for certain is refused, with the file
and the offset.
"""
