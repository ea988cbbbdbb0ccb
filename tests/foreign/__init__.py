"""
Tests of programs that other people wrote for etcd's version 2 API, unmodified, on clusters of real processes.
"""
