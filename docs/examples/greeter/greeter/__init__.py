"""
A web server that says where it is in the keys of a cluster, and reads there what to say.
"""
