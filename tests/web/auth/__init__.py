"""
Tests of who makes a request, and of the pages about users and roles.
"""
