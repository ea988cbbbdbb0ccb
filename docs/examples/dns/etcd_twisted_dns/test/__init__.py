"""Tests of L{etcd_twisted_dns}: C{trial etcd_twisted_dns}."""
