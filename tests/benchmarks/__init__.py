"""The benchmarks, run in short with the foreign programs that they need: C{wrk}, and C{etcd} itself."""
