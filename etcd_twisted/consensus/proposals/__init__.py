"""
Changes of the key space on their way into the log: which are let in, and who waits for what becomes of them.

This package must never say that a change was not made when it may yet be.
"""
