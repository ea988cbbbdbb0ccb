"""
Tests of machines with workers, with real processes: as recorded, under kills, in clusters, with TLS and users.
"""
