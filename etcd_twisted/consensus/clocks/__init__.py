"""
The time by which keys expire, and the comparison of this machine's clocks with those of the others.

This package must never set a clock, nor ask another machine for its time.
"""
