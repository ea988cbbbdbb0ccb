"""
What belongs to the process that a machine runs in: its process id on disk, and the way into the background.

Must never know what the process is there for.
"""
