"""
HTTP ports: connections with limits, and answers that go out as fast as they are read.

What is served on a port is its frontend's business: this room must never know a path, nor what an answer says.
"""
