"""
Workers: processes that serve clients, each from a copy of the key space that the consensus process feeds.

The consensus process is the one that was started. It takes part in consensus, holds the sockets, starts the workers,
and starts each again that ends. A worker answers requests about keys itself, and relays all others.

This package must never let a worker decide anything, nor answer from a copy that is not fed any more.
"""
