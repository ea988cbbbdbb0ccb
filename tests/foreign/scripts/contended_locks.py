"""
Uses a lock of python-etcd or aio_etcd: contended_locks.py LIBRARY MODE NAME PORT...

As the mode, C{pair} has one user take the lock, and another one try it; C{crowd} has many users contend. Prints JSON
of who held the lock. Each port is one machine's. This is a script of the environment in which the libraries are.
"""

import asyncio
import json
import sys
import threading

import aio_etcd
import etcd

ROUNDS = 3
USERS = 6
TTL_SECONDS = 60


class Section:
    """What the lock guards: notes who is in it."""

    def __init__(self):
        self.holders = []
        self.most = 0
        self.keys = []

    def enter(self, lock):
        self.holders.append(lock)
        self.most = max(self.most, len(self.holders))
        self.keys.append(lock.lock_key)

    def leave(self, lock):
        self.holders.remove(lock)

    def result(self):
        return {"most": self.most, "keys": self.keys}


def pair(name, ports):
    """Returns whether each of two users got the lock of python-etcd."""
    locks = [etcd.Lock(etcd.Client(port=port), name) for port in ports[:2]]
    return [lock.acquire(blocking=False, lock_ttl=TTL_SECONDS) for lock in locks]


async def aio_pair(name, ports):
    """Returns whether each of two users got the lock of aio_etcd."""
    clients = [aio_etcd.Client(port=port) for port in ports[:2]]
    got = [await aio_etcd.Lock(each, name).acquire(blocking=False, lock_ttl=TTL_SECONDS) for each in clients]
    for client in clients:
        client.close()
    return got


def crowd(name, ports):
    """Returns who held the lock of python-etcd when many contend."""
    section = Section()
    start = threading.Barrier(USERS)

    def use(port):
        client = etcd.Client(port=port)
        start.wait()
        for _ in range(ROUNDS):
            lock = etcd.Lock(client, name)
            lock.acquire(lock_ttl=TTL_SECONDS)
            section.enter(lock)
            client.write("/guarded", lock.lock_key)
            section.leave(lock)
            lock.release()

    threads = [threading.Thread(target=use, args=(ports[at % len(ports)],)) for at in range(USERS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return section.result()


async def aio_crowd(name, ports):
    """Returns who held the lock of aio_etcd when many contend."""
    section = Section()

    async def use(port):
        client = aio_etcd.Client(port=port)
        for _ in range(ROUNDS):
            lock = aio_etcd.Lock(client, name)
            await lock.acquire(lock_ttl=TTL_SECONDS)
            section.enter(lock)
            await client.write("/guarded", lock.lock_key)
            section.leave(lock)
            await lock.release()
        client.close()

    await asyncio.gather(*(use(ports[at % len(ports)]) for at in range(USERS)))
    return section.result()


if __name__ == "__main__":
    library, mode, name, *ports = sys.argv[1:]
    ports = list(map(int, ports))
    if library == "aio_etcd":
        told = asyncio.run({"pair": aio_pair, "crowd": aio_crowd}[mode](name, ports))
    else:
        told = {"pair": pair, "crowd": crowd}[mode](name, ports)
    json.dump(told, sys.stdout)
