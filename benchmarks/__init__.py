"""
Measures the server against etcd itself, on one machine and in one run (see C{docs/benchmarks.md}).

Drives servers from outside, as any client would; nothing of the package depends on it.
"""
