"""
Tests of clusters of several real processes, over their whole life: see C{make test-large}.
"""
