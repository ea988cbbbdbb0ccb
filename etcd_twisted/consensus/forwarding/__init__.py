"""
Requests of clients that only the leader can carry out: followers have the leader do so, and answer the clients.
"""
