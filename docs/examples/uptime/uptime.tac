"""
The checker as a program: C{twistd -y uptime.tac}. Variables such as C{ETCD_ADDR} configure its machine.
"""

import os
import sys

from twisted.application.service import Application
from twisted.internet import reactor
from uptime import UptimeService

from etcd_twisted.config import load_config


def fatal(reason):
    """End the process at once, with a status that has a service manager start it again."""
    print(f"uptime: {reason}", file=sys.stderr, flush=True)
    os._exit(1)


application = Application("uptime")
UptimeService(reactor, load_config({}, os.environ), fatal).setServiceParent(application)
