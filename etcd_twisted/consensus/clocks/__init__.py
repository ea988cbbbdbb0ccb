"""
The time by which keys expire, and this machine's clocks against those of the others.

Must never set a clock, nor ask another machine for its own.
"""
