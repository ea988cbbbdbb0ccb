"""
Lets etcd_twisted find the frontend (see C{docs/frontends.md}).

Must never become a package of its own (no C{__init__.py} in these directories).
"""

from etcd_twisted_dns.frontend import DnsFrontend

dns = DnsFrontend()
