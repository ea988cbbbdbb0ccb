"""
Tests of what the documentation says, against real processes.
"""
