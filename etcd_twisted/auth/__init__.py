"""
Users, roles and what they may do, as replicated state: values, rules and changes of them.

This package must never do anything: it reads no clock and no file, hashes no password and knows no request.
"""
