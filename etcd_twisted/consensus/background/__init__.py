"""
What goes on beside requests: watchers are told, keys expire, what was removed is forgotten, the cluster time is kept.

Must never hold the reactor for long, nor go on when there is nothing to do.
"""
