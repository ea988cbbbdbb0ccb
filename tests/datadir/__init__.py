"""
Tests of what is done with data directories of machines that do not run.
"""
