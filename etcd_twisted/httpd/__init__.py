"""
HTTP ports: connections with limits, and answers that are sent as fast as clients read them.

A port's frontend decides what the port serves: this package must never know a path, nor what an answer says.
"""
