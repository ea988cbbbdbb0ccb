"""
Workers: what the consensus process feeds them, what they serve, and the processes that they are.
"""
