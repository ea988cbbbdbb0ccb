"""
How a machine begins a cluster, joins one, comes back to it, or stands by.

This package must never give a machine that is in a cluster another identity, nor begin a second cluster beside one.
"""
