"""
Uses aio_etcd: aio_etcd_users.py PORT. Prints JSON of the members that it finds, and of what users may do.

The port is one machine's of a cluster without users. This is a script of the environment in which the library is.
"""

import asyncio
import json
import sys

import aio_etcd
from aio_etcd.auth import Auth, EtcdRole, EtcdUser


async def outcome(call):
    """Returns the value that a call reads or writes, or the name of the exception that it raises."""
    try:
        return (await call).value
    except aio_etcd.EtcdException as error:
        return type(error).__name__


async def add(client, name, password, roles):
    """Adds a user."""
    user = EtcdUser(client, name)
    user.password, user.roles = password, roles
    await user.write()


async def main(port):
    """Returns what there is to print."""
    guest = aio_etcd.Client(port=port)
    leader = await guest.leader()
    told = {"leader": leader["name"], "members": sorted(await guest.members()), "machines": await guest.machines()}
    told["write"] = await outcome(guest.write("/web/key", "1"))
    await add(guest, "root", "root's", [])
    await Auth(guest).set_active(True)
    root = aio_etcd.Client(port=port, username="root", password="root's")
    await EtcdRole(root, "guest").delete()
    role = EtcdRole(root, "web")
    role.grant("/web/*", "R")
    await role.write()
    await add(root, "ann", "ann's", ["web"])
    ann = aio_etcd.Client(port=port, username="ann", password="ann's")
    told["ann reads"] = await outcome(ann.read("/web/key"))
    told["ann writes"] = await outcome(ann.write("/web/key", "2"))
    told["guest reads"] = await outcome(guest.read("/web/key"))
    told["root writes"] = await outcome(root.write("/web/key", "3"))
    for client in (guest, root, ann):
        client.close()
    return told


if __name__ == "__main__":
    json.dump(asyncio.run(main(int(sys.argv[1]))), sys.stdout)
