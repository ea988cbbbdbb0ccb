"""
The benchmarks, run for a short time with the other programs that they need: C{wrk}, and C{etcd} itself.
"""
