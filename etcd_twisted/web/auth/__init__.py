"""
Users and roles over HTTP: who makes a request, and the pages C{/v2/auth}.

This package must never put a password, or the hash of one, into an answer, a line of the log or the text of an object.
"""
