"""
Measures the server against etcd itself, on one machine and in one run (see C{docs/benchmarks.md}).

The benchmarks drive servers from outside, as any client would; nothing in the package depends on them.
"""
