"""
HTTP ports: connections with limits, and answers that are sent as fast as clients read them.

What is served on a port is its frontend's business: this package must never know a path, nor what an answer says.
"""
