"""
The modules: a lock and an election of a leader, made of keys (api, "Lock Module" and "Leader Module").

Must never ask a server over HTTP, this one included: what they do is done through the replica, where it leads.
"""
