"""
What belongs to the process that a machine runs in: its process id on disk, the way into the background, the garbage
collector, the limit of open files, and the service manager that started it.

Must never know what the process is there for.
"""
