"""
Clients that reach machines through nginx and HAProxy, with the configurations of the page about proxies.
"""
