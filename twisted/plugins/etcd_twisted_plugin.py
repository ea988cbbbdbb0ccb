"""
Lets C{twistd} find C{twistd etcd}.

Twisted looks for plugins in every C{twisted/plugins} on the path. Must never become a package of its own (no
C{__init__.py} in these directories), and must never import the service: every C{twistd} of the machine loads this.
"""

from twisted.application.service import ServiceMaker

etcd = ServiceMaker(
    "etcd",
    "etcd_twisted.tap",
    "A replicated, hierarchical key-value store that speaks the etcd version 2 API.",
    "etcd",
)
