"""
Tests with real processes: what they keep when they are killed or when the disk fails, and how they start and stop.
"""
