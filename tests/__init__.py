"""
The tests, laid out like the package; beside them whole simulated clusters, real processes, clients and a browser.

Must never judge by how long anything takes: that is what C{benchmarks} is for. So hypothesis shall not either, neither
for an example nor for making one.
"""

from hypothesis import HealthCheck, settings

settings.register_profile("untimed", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("untimed")
