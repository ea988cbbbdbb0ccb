"""
Workers: processes that serve clients from copies of the key space of their own, which the consensus process feeds.

A worker must never decide anything, nor answer from a copy that is not fed.
"""
