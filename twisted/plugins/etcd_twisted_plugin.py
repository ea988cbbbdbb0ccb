"""
Lets C{twistd} find C{twistd etcd}.

Twisted looks for plugins in every C{twisted/plugins} on the path. Must never become a package of its own (no
C{__init__.py} in these directories), and must never import the service: every C{twistd} of the machine loads this.
"""

import gc
from typing import Any

from twisted.application.service import ServiceMaker


class QuietServiceMaker(ServiceMaker):
    """
    Imports the service without the cyclic garbage collector, which would find nothing and take a tenth of the time
    that a start does.
    """

    @property
    def options(self) -> Any:
        """The options of the service, which C{twistd} asks for once it is certain to need it."""
        if not gc.isenabled():
            return super().options
        gc.disable()
        try:
            return super().options
        finally:
            gc.freeze()
            gc.enable()


etcd = QuietServiceMaker(
    "etcd",
    "etcd_twisted.tap",
    "A replicated, hierarchical key-value store that speaks the etcd version 2 API.",
    "etcd",
)
