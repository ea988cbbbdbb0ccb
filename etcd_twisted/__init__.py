"""
The etcd version 2 API as a Twisted service: a replicated, hierarchical key space.

C{docs/} describes the service from outside, C{ARCHITECTURE.md} says where everything is, and each package's first
lines say what it is for.
"""

__version__ = "0.1.0"
