"""
Whole machines on simulated clocks, with simulated disks and a simulated network between them.

What is here must never ask the system for the time or for a random number: the seed decides everything.
"""
