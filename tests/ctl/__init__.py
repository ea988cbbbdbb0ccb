"""Tests of L{etcd_twisted.ctl}."""
