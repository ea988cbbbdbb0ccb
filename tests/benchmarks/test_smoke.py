"""
Each benchmark comes to its figures in a short run against real servers. They load the machine as hard as they can, so
they are not among the tests of C{make test}.
"""

import shutil
from collections.abc import Sequence
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from benchmarks import (
    answers,
    client,
    cluster,
    clusters,
    comparison,
    elections,
    failover,
    growth,
    keys,
    large,
    many,
    scraping,
    servers,
    stall,
    standbys,
    throughput,
    users,
    watchers,
    workers,
)
from benchmarks.errors import BenchmarkError

NAMES = [servers.EtcdTwisted.name, servers.GoEtcd.name]


class ServerTests(SynchronousTestCase):
    """These tests run one short cell against a real server."""

    if shutil.which("wrk") is None:
        skip = "wrk is not installed (apt-get install wrk)"

    def test_answers_benchmark_runs(self) -> None:
        """The run has a few keys, a second for each probe, and enough snapshots for a slow machine to take one."""
        self.patch(answers, "PROBE_SECONDS", 1)
        table = answers.run([servers.EtcdTwisted.name], Path(self.mktemp()).resolve(), keys=200, snapshot_count=5)
        self.assertIn("200 keys of 64 bytes", table)
        (snapshots,) = [line for line in table.splitlines() if line.startswith("snapshots taken meanwhile")]
        self.assertGreater(int(snapshots.split()[-1]), 0)

    def test_growth_benchmark_runs(self) -> None:
        """
        The run has few keys in small directories. The script asks for the keys that were written, and for no others.
        """
        self.patch(growth, "series", lambda most: {"children": [growth.Shape(most, 3, 5, 2)]})
        directory = Path(self.mktemp()).resolve()
        directory.mkdir(parents=True)
        table = growth.run([servers.EtcdTwisted.name], directory, rounds=1, seconds=1, most_keys=10)
        _head, _rule, line = table.splitlines()
        self.assertRegex(line, r"^children 3 +[1-9][0-9,]+ +[1-9][0-9,]+$")

    def test_scraping_benchmark_runs(self) -> None:
        """Both ways are measured, and the scraped text is checked."""
        table = scraping.run(Path(self.mktemp()).resolve(), rounds=1, seconds=1, connections=[2])
        cost, _, head, _rule, *lines = table.splitlines()
        self.assertRegex(cost, r"^one scrape of an idle server takes \d+\.\d\d ms of the processor$")
        self.assertRegex(head, r"scraped /s +not scraped /s +ratio")
        self.assertEqual([line.split(",")[0] for line in lines], ["PUT", "GET"])
        for line in lines:
            self.assertRegex(line, r"2 connections +[\d,]+ +[\d,]+ +\d\.\d\d")

    def test_failed_scraping_is_an_error(self) -> None:
        """There is no figure."""
        with servers.EtcdTwisted(Path(self.mktemp()).resolve()) as server:
            server.start()
            with self.assertRaises(BenchmarkError) as caught, scraping.Scraper(server, 0.001):
                server.stop()
        self.assertIn("the metrics could not be scraped", str(caught.exception))

    def test_stall_benchmark_runs(self) -> None:
        """Each window has turns in it."""
        self.patch(stall, "PROBE_SECONDS", 1)
        table = stall.run(Path(self.mktemp()).resolve(), keys=200, snapshot_count=5)
        _caption, _head, _rule, *lines = table.splitlines()
        self.assertEqual(len(lines), 4)
        for line in lines:
            self.assertRegex(line, r"\d\.\d +\d+\.\d$")


class EtcdClusterTests(SynchronousTestCase):
    """These tests run a cluster of real etcd."""

    if shutil.which("etcd") is None:
        skip = "etcd is not installed (apt-get install etcd-server)"

    def test_etcd_cluster_agrees(self) -> None:
        """It starts and agrees, and agrees again when its leader has been away."""
        with clusters.started(servers.GoEtcd.name, Path(self.mktemp()).resolve()) as group:
            before = group.agree()
            before.leader.kill()
            before.leader.start()
            self.assertGreater(group.agree().term, before.term)


class ClusterTests(SynchronousTestCase):
    """These tests run real machines for a short time."""

    if shutil.which("wrk") is None:
        skip = "wrk is not installed (apt-get install wrk)"

    def test_elections_benchmark_runs(self) -> None:
        table = elections.run([servers.EtcdTwisted.name], Path(self.mktemp()).resolve(), 1, 1)
        _caption, _head, _rule, *lines = table.splitlines()
        self.assertEqual(len(lines), 3)

    def test_failover_benchmark_runs(self) -> None:
        """The leader ends in each way and comes back, and the writes go on each time."""
        self.patch(failover, "SETTLE_SECONDS", 0.1)
        table = failover.run([servers.EtcdTwisted.name], Path(self.mktemp()).resolve(), 1)
        _caption, _head, _rule, *lines = table.splitlines()
        self.assertEqual(len(lines), 6)
        for line in lines:
            self.assertRegex(line, r" \d+\.\d{3}$")


class ClientTests(SynchronousTestCase):
    def test_client_benchmark_runs(self) -> None:
        directory = Path(self.mktemp()).resolve()
        directory.mkdir(parents=True)
        text, _, table = client.run(directory, rounds=1, requests=50, watches=20).partition("\n\n")
        self.assertRegex(text, r"^a get takes [\d,]+ us of the processor, a bare treq.get [\d,]+ us$")
        _head, _rule, *rows = table.splitlines()
        self.assertEqual(len(rows), 4)
        for row in rows:
            self.assertRegex(row, r" -?\d+\.\d+( kB| s)?  +\d+\.\d+( kB| s)?  +(yes|no)$")


class ComparisonTests(SynchronousTestCase):
    """These tests run both servers for a short time."""

    if shutil.which("wrk") is None or shutil.which("etcd") is None:
        skip = "wrk or etcd is not installed (apt-get install wrk etcd-server)"

    def test_every_kind_of_part(self) -> None:
        """Each server has each figure."""
        self.patch(keys, "SETTLE_SECONDS", 0.1)
        self.patch(keys, "OPTIONS", ("--snapshot-count", "500"))
        self.patch(keys, "BATCH", 100)
        directory = Path(self.mktemp()).resolve()
        directory.mkdir(parents=True)
        parts = [
            *throughput.parts([1], 1),
            *users.parts(1),
            *cluster.parts([2], 1)[1:],
            *standbys.parts(1),
            *watchers.parts(20, 2),
            *many.parts([2_000], 1),
            *keys.parts([200]),
        ]
        works = [line.work for part in parts for line in part.lines]
        _caption, _head, _rule, *rows = comparison.run(NAMES, directory, parts, 1).splitlines()
        rows = rows[: len(works)]  # below it says what was measured once more, on a busy machine
        self.assertEqual([row.split("  ")[0] for row in rows], works)
        for row in rows:
            self.assertRegex(row, r"  +[\d.,]*[1-9][\d.,]*( ?[a-zA-Z/]*)  +[\d.,]*\d[\d.,]*\1  +(\d+\.\d\d|-)  +")

    def test_large(self) -> None:
        """A server that stood still is loaded again in the second round."""
        self.patch(keys, "OPTIONS", ("--snapshot-count", "500"))
        self.patch(keys, "BATCH", 100)
        directory = Path(self.mktemp()).resolve()
        directory.mkdir(parents=True)
        with large.Large(directory) as kept:
            parts = kept.parts([2_000, 3_000], 1, 200)
            works = [line.work for part in parts for line in part.lines]
            _caption, _head, _rule, *rows = comparison.run(NAMES, directory, parts, 2).splitlines()
        rows = rows[: len(works)]
        self.assertEqual([row.split("  ")[0] for row in rows], works)
        for row in rows:
            self.assertRegex(row, r"  +[\d.,]*[1-9][\d.,]*( ?[a-zA-Z/]*)  +[\d.,]*\d[\d.,]*\1  +(\d+\.\d\d|-)  +")

    def test_large_after_a_crash(self) -> None:
        """A server that has ended is filled anew, and none is left behind."""
        started: list[servers.Server] = []

        class Recorded(servers.EtcdTwisted):
            def launch(self, options: Sequence[str] = ()) -> None:
                started.append(self)
                super().launch(options)

        self.patch(large, "KINDS", {Recorded.name: Recorded})
        directory = Path(self.mktemp()).resolve()
        directory.mkdir(parents=True)
        with large.Large(directory) as kept:
            part = kept.parts([2_000], 1, 200)[0]
            part.measure(Recorded.name, directory)
            started[0].kill()
            self.assertRaises(BenchmarkError, part.measure, Recorded.name, directory)
            part.measure(Recorded.name, directory)
            self.assertEqual([each.running for each in started], [False, True, True])
        self.assertEqual([each.running for each in started], [False, False, False])

    def test_workers(self) -> None:
        """Only this project's server has them. What the consensus process takes is less than what all take."""
        directory = Path(self.mktemp()).resolve()
        directory.mkdir(parents=True)
        parts = workers.parts(1, 1)
        _caption, _head, _rule, *rows = comparison.run(NAMES, directory, parts, 1).splitlines()
        self.assertEqual([row.split("  ")[0] for row in rows], [line.work for part in parts for line in part.lines])
        without, with_one, consensus, share = (float(row.split("  ", 1)[1].split()[0]) for row in rows[:4])
        self.assertGreater(with_one, consensus)
        self.assertLess(abs(share - consensus / without), 0.02)
