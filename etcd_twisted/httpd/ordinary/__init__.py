"""
The ordinary door of an HTTP port: L{twisted.web}, which knows all of HTTP/1, with the limits of the port.
"""
