"""
The machines that a key space says are in its cluster, as a client reads them (spec, section 3, "Joining").
"""

import urllib.parse

from etcd_twisted.interfaces.cluster import DIRECTORY, Machine
from etcd_twisted.keyspace.nodes import Directory, File


def registered_machines(root: Directory) -> list[Machine]:
    """The machines registered in a key space, by name. What is no registration is passed over."""
    directory = root
    for name in DIRECTORY[1:].split("/"):
        child = directory.children.get(name)
        if not isinstance(child, Directory):
            return []
        directory = child
    machines = []
    for name, node in sorted(directory.children.items()):
        if isinstance(node, File):
            urls = dict(urllib.parse.parse_qsl(node.value))
            if "etcd" in urls and "raft" in urls:
                machines.append(Machine(name, urls["etcd"], urls["raft"]))
    return machines
