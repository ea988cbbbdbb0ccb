"""
Tests of locks on machines as processes, and of the clients that wait when the leader ends.
"""

from twisted.internet import reactor
from twisted.internet.defer import CancelledError, Deferred, DeferredList, ensureDeferred
from twisted.internet.task import deferLater
from twisted.trial.unittest import TestCase

from tests.processes.client import GONE, Answer
from tests.processes.cluster import Cluster, Member, until

LOCK = "/mod/v2/lock/mylock"
LINE = "/_etcd/mod/lock/mylock"
CONTENDERS = 50
LONG = "60"
"""A TTL that does not end while a test runs."""


class Contender:
    """
    A client that tries to get the lock until it has it: it follows redirects, and asks another machine if one is gone.

    @ivar places: the indexes of its keys in the queue.
    @ivar has_it: fires with the index.
    """

    def __init__(self, cluster: Cluster, value: str, ttl: str = LONG) -> None:
        self.value = value
        self.gone = False
        self._cluster = cluster
        self._form = {"value": value, "ttl": ttl} if value else {"ttl": ttl}
        self.has_it: Deferred[int] = ensureDeferred(self._ask())

    async def _ask(self) -> int:
        for turn in range(6_000):
            machines = self._cluster.running
            try:
                answer = await machines[turn % len(machines)].user.request("POST", LOCK, self._form)
            except GONE:
                if self.gone:  # A request that is cancelled fails like this.
                    raise CancelledError from None
                answer = None
            if answer is not None and answer.status == 200:
                return int(answer.body)
            if answer is not None and answer.status != 307 and answer.json()["errorCode"] not in {300, 301}:
                raise AssertionError(answer)
            await deferLater(reactor, 0.02)
        raise AssertionError(f"{self.value!r} never got the lock")

    def vanish(self) -> None:
        """Closes the connection without a word."""
        self.gone = True
        self.has_it.addErrback(lambda reason: reason.trap(CancelledError, *GONE))
        self.has_it.cancel()


class LockTests(TestCase):
    """Tests with three machines."""

    timeout = 240

    async def setUp(self) -> None:
        self.cluster = Cluster(self, 3)
        await self.cluster.start()
        self.contenders: list[Contender] = []
        self.addCleanup(self._end)

    def _end(self) -> None:
        for contender in self.contenders:
            if not contender.has_it.called:
                contender.vanish()

    def contend(self, value: str = "", ttl: str = LONG) -> Contender:
        contender = Contender(self.cluster, value, ttl)
        self.contenders.append(contender)
        return contender

    async def line(self) -> dict[int, str]:
        """Returns the indexes in the queue, in order, as the leader has them."""
        leader = await self.cluster.leader()
        answer = await leader.client.get(LINE, "?quorum=true&sorted=true")
        nodes = answer.json()["node"].get("nodes", []) if answer.status == 200 else []
        return {int(node["key"].rpartition("/")[2]): node["value"] for node in nodes}

    async def stand_in_line(self, count: int) -> dict[int, str]:
        """Returns the queue when it has that many entries."""

        async def there() -> dict[int, str] | None:
            line = await self.line()
            return line if len(line) == count else None

        return await until(there, f"{count} are in line")

    async def release(self, index: int) -> None:
        """Releases an index, and repeats that until it is acknowledged."""

        async def released() -> Answer | None:
            answer = await self.cluster.running[0].user.request("DELETE", f"{LOCK}?index={index}")
            return answer if answer.status in {200, 404} else None

        await until(released, f"{index} is released")

    async def test_waiting_clients_get_the_lock_after_a_killed_leader(self) -> None:
        """
        Of fifty clients a third vanishes, one half before the leader is killed and one half with it: the others get
        the lock one after the other, each at the index that it has had from the beginning.
        """
        held = await self.contend("first").has_it
        contenders = [self.contend(f"contender {number}", ttl="20") for number in range(CONTENDERS)]
        line = await self.stand_in_line(CONTENDERS + 1)
        early, late = contenders[::6], contenders[1::6]
        for contender in early:
            contender.vanish()
        await self.stand_in_line(CONTENDERS + 1 - len(early))
        leader = await self.cluster.leader()
        killed = ensureDeferred(self.cluster.kill(leader))
        for contender in late:
            contender.vanish()
        await killed
        places = {value: index for index, value in line.items()}
        staying = sorted((each for each in contenders if not each.gone), key=lambda each: places[each.value])
        for position, contender in enumerate(staying):
            self.assertEqual([each.value for each in staying[position:] if each.has_it.called], [])
            await self.release(held)
            held = await contender.has_it
            self.assertEqual(held, places[contender.value])
        await self.release(held)
        await self.stand_in_line(0)

    async def test_waiting_clients_are_redirected_by_a_stopped_leader(self) -> None:
        """
        A waiting client is redirected to the next leader with the index that it has, even if it has given no name.
        """
        held = await self.contend().has_it
        waiting = [self.contend() for _ in range(5)]
        line = await self.stand_in_line(6)
        await (await self.cluster.leader()).terminate()
        self.assertEqual(await self.line(), line)
        for expected in list(line)[1:]:
            await self.release(held)
            held, position = await DeferredList([each.has_it for each in waiting], fireOnOneCallback=True)
            self.assertEqual(held, expected)
            del waiting[position]
        self.assertEqual(await self.line(), {held: ""})

    async def test_entry_of_a_lost_client_expires(self) -> None:
        """The entry of a client that does not come back is gone when its TTL ends."""
        holder = await self.contend().has_it
        orphan = self.contend("orphan", ttl="6")
        await self.stand_in_line(2)
        leader = await self.cluster.leader()
        await leader.kill()
        orphan.vanish()
        behind = self.contend("behind")
        await self.release(holder)
        index = await behind.has_it
        self.assertEqual(await self.line(), {index: "behind"})

    async def test_lost_holder_loses_the_lock(self) -> None:
        """A client that has the lock and does not renew it loses it, whatever happens to the machines."""
        await self.contend("holder", ttl="6").has_it
        behind = self.contend("behind")
        await self.stand_in_line(2)
        await self.cluster.kill(await self.cluster.leader())
        index = await behind.has_it
        self.assertEqual(await self.line(), {index: "behind"})

    async def test_any_machine_serves_locks(self) -> None:
        """Every machine gives the same result."""
        for machine in self.cluster.machines:
            await self._use(machine)

    async def _use(self, machine: Member) -> None:
        answer = await machine.user.request("POST", LOCK, {"ttl": LONG, "value": machine.name})
        index = answer.body.decode()
        answer = await machine.user.request("GET", f"{LOCK}?field=index")
        self.assertEqual((answer.status, answer.body.decode()), (200, index))
        answer = await machine.user.request("PUT", LOCK, {"ttl": LONG, "index": index})
        self.assertEqual((answer.status, answer.body), (200, b""))
        answer = await machine.user.request("DELETE", f"{LOCK}?value={machine.name}")
        self.assertEqual((answer.status, answer.body), (200, b""))
        answer = await machine.user.request("GET", LOCK)
        self.assertEqual((answer.status, answer.body), (200, b""))
