"""
The replicated state machine: a tree of keys, the commands that change it, the events they make.

Nothing in here must ever read a clock, a file, a socket or a source of randomness, so that the same log
gives the same tree, byte for byte, on every machine.
"""
