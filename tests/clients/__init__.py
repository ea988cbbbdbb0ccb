"""
Tests with clients that other people wrote, against real processes.
"""
