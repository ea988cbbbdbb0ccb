"""
A DNS server in a machine of etcd_twisted: names and addresses are keys. L{etcd_twisted_dns.records} describes them.
"""
