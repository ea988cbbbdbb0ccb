"""
Work in the background of requests: delivering events, expiring keys, forgetting removed TTLs, keeping the cluster
time.

This package must never hold up the reactor for long, nor run while there is nothing to do.
"""
