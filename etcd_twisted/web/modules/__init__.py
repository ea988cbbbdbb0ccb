"""
The lock module and the leader module: locks and elections that are made of keys (api, "Lock Module" and "Leader
Module").

Must never send an HTTP request to a server, not even to this one: everything is done through the replica, on the
machine that leads.
"""
