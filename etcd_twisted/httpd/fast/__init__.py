"""
The fast door of an HTTP port: it parses common requests itself, and hands rare ones to the ordinary door.

It must never answer a request differently than the ordinary door would.
"""
