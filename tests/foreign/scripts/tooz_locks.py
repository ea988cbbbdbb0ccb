"""
Uses the locks of tooz: tooz_locks.py PORT... Prints JSON of what each call returned and who held the lock.

Each port is one machine's. This is a script of the environment in which tooz is.
"""

import json
import sys
import threading
import time

import requests
from tooz import coordination

ROUNDS = 5


def coordinators(ports):
    """Returns a coordinator of tooz at each port."""
    made = [coordination.get_coordinator(f"etcd://127.0.0.1:{port}", f"user{port}") for port in ports]
    for each in made:
        each.start()
    return made


def watchers(port):
    """Returns how many watchers the machine at a port has."""
    return requests.get(f"http://127.0.0.1:{port}/v2/stats/store", timeout=10).json()["watchers"]


def hand_over(ports):
    """Returns what the calls of two users return, of whom one waits for the other, and at last breaks its lock."""
    first, second = coordinators(ports)
    mine, theirs = first.get_lock("job"), second.get_lock("job")
    told = {"free": mine.acquire(blocking=False), "taken": theirs.acquire(blocking=False)}
    first.heartbeat()
    waiting = threading.Thread(target=lambda: told.update(waited=theirs.acquire()))
    waiting.start()
    # Neither tooz nor the server tells when somebody begins to wait. A call that has ended does not wait any more.
    while waiting.is_alive() and watchers(ports[1]) == 0:
        time.sleep(0.01)
    told["waits"] = "waited" not in told
    told["released"] = mine.release()
    waiting.join()
    told["taken again"] = mine.acquire(blocking=False)
    told["broken"] = mine.break_()
    told["free again"] = mine.acquire(blocking=False)
    return told


def contend(ports):
    """Returns how many users have held the lock at most, and how often it was got."""
    holders, most, got = [], [], []

    def use(user):
        for _ in range(ROUNDS):
            with user.get_lock("contended"):
                holders.append(user)
                most.append(len(holders))
                got.append(user)
                user.heartbeat()
                holders.remove(user)

    threads = [threading.Thread(target=use, args=(user,)) for user in coordinators(ports)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return {"most": max(most), "got": len(got)}


if __name__ == "__main__":
    ports = sys.argv[1:]
    json.dump({"hand over": hand_over(ports[:2]), "contended": contend(ports * 2)}, sys.stdout)
