"""
The lock module and the leader module: locks and elections that are made of keys (api, "Lock Module" and "Leader
Module").

This package must never send an HTTP request to a server, not even to this one: everything is done through the replica,
on the machine that leads.
"""
