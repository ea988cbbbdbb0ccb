"""
The process that a machine runs in: the file with its process id, how it goes into the background, the garbage
collector, the limit on open files, and the service manager that started it.

This package must never know the purpose of the process.
"""
