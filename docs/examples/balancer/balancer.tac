"""
The observer as a program: C{twistd -y balancer.tac}.
"""

from pathlib import Path

from balancer import Balancer, run
from twisted.application.service import Application
from twisted.internet import reactor

from etcd_twisted.client import Client

CLUSTER = ["http://127.0.0.1:4001"]
DIRECTORY = "/services"
FILE = Path("haproxy.cfg")
RELOAD = ["/bin/cp", "haproxy.cfg", "loaded.cfg"]  # for HAProxy: ["/bin/systemctl", "reload", "haproxy"]

application = Application("balancer")
Balancer(Client(CLUSTER), DIRECTORY, FILE, lambda: run(reactor, RELOAD)).setServiceParent(application)
