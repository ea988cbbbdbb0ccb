"""
Who is in the group: how the leader changes that, who is kept out, and whose messages are taken.
"""
