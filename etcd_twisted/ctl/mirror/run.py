"""
A mirror as a command: its target, its output, its metrics.

This module must never decide what is copied.
"""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs
import click
from twisted.internet.defer import Deferred
from twisted.internet.error import CannotListenError
from twisted.internet.task import LoopingCall
from twisted.python.failure import Failure

from etcd_twisted.client import Client, ConnectionFailed, KeyNotFound, Tls
from etcd_twisted.ctl.failures import BAD_ARGUMENTS, NO_CONNECTION, CommandFailedError
from etcd_twisted.ctl.mirror.copies import Copy
from etcd_twisted.ctl.mirror.engine import Mirror
from etcd_twisted.ctl.mirror.metrics import Metrics
from etcd_twisted.ctl.mirror.v2_copy import V2Copy
from etcd_twisted.ctl.mirror.v3_copy import V3Copy
from etcd_twisted.ctl.mirror.v3_gateway import Gateway
from etcd_twisted.ctl.session import connect
from etcd_twisted.ctl.settings import Settings
from etcd_twisted.ctl.subtree import Move, is_within

if TYPE_CHECKING:
    from etcd_twisted.ctl.mirror.lag import Lag

_FIRST_ANSWER_SECONDS = 15.0
"""
How long a cluster may take over the first answer, which is a small one: long enough for an election, and less than a
comparison may take, so that a wrong URL is noticed soon.
"""


@attrs.frozen
class Options:
    """
    What the command line says of a mirror.

    @ivar move: the directory of the source, and that of the copy.
    @ivar target: how to reach the target.
    @ivar to_v3: whether the target has version 3 of the API.
    @ivar overwrite: see L{Mirror.run}.
    @ivar resync: see L{Mirror.run}.
    @ivar once: see L{Mirror.run}.
    @ivar report_seconds: how often to tell of the lag, or C{None} for never.
    @ivar metrics_port: where to serve metrics, or C{None}.
    @ivar metrics_file: where to write metrics, or C{None}.
    @ivar as_json: whether to print JSON.
    """

    move: Move
    target: Settings
    to_v3: bool
    overwrite: bool
    resync: bool
    once: bool
    report_seconds: float
    metrics_port: int | None
    metrics_file: Path | None
    as_json: bool


async def run(source: Client, options: Options) -> None:
    """Copy, as the options say."""
    copy = await _open_copy(source, options)
    try:
        mirror = Mirror(source, copy, options.move, lambda text: click.echo(text, err=True))
        await _observed(mirror, options, source.reactor)
    finally:
        await copy.close()


async def _open_copy(source: Client, options: Options) -> Copy:
    """
    Returns what keeps the copy.

    @raise CommandFailedError: see L{_check_clusters}.
    """
    target, directory = options.target, options.move.target
    if options.to_v3:
        tls = Tls(target.ca_file, target.cert_file, target.key_file)
        gateway = Gateway(source.reactor, target.endpoints, tls, target.credentials)
        return V3Copy(source.reactor, gateway, directory)
    client = await connect(target, source.reactor)
    try:
        await _check_clusters(source, client, options.move)
    except BaseException:
        await client.close()
        raise
    return V2Copy(client, directory)


async def _check_clusters(source: Client, target: Client, move: Move) -> None:
    """
    Check that both clusters answer, and that the copy would be no part of the source.

    @raise CommandFailedError: one of these is not so.
    """
    for each in (source, target):
        try:
            await each.get("/", timeout_seconds=_FIRST_ANSWER_SECONDS)
        except KeyNotFound:
            continue
        except ConnectionFailed as error:
            if each is source:
                raise
            remedy = "check that a machine serves clients there; name others with --to"
            raise CommandFailedError(str(error), NO_CONNECTION, remedy) from error
    is_inside = is_within(move.target, move.source) or is_within(move.source, move.target)
    if is_inside and source.cluster_id is not None and source.cluster_id == target.cluster_id:
        text = f"{move.target} and {move.source} are in the same cluster, and one is in the other"
        raise CommandFailedError(f"{text}: choose another directory with --to-directory", BAD_ARGUMENTS)


async def _observed(mirror: Mirror, options: Options, reactor: Any) -> None:
    """Run a mirror, and tell of it meanwhile."""
    metrics = Metrics(mirror.lag)
    port = None
    if options.metrics_port is not None:
        try:
            port = reactor.listenTCP(options.metrics_port, metrics.site(), interface="127.0.0.1")
        except CannotListenError as error:
            raise CommandFailedError(f"--metrics-port: {error}", BAD_ARGUMENTS) from error
    if options.metrics_file is not None:
        metrics.write(options.metrics_file)
    running = Deferred.fromCoroutine(mirror.run(options.overwrite, options.resync, options.once))

    failures: list[Failure] = []

    def fail(failure: Failure) -> None:
        failures.append(failure)
        running.cancel()

    reporting = LoopingCall(_report, mirror.lag, metrics, options)
    reporting.clock = reactor
    reporting.start(options.report_seconds, now=False).addErrback(fail)
    try:
        await running
        _report(mirror.lag, metrics, options)
    finally:
        if port is not None:
            await port.stopListening()
        if reporting.running:
            reporting.stop()
        if failures:
            failures[0].raiseException()


def _report(lag: "Lag", metrics: Metrics, options: Options) -> None:
    changes = sum(lag.changes.values())
    if options.as_json:
        fields = {
            "lagSeconds": round(lag.seconds, 3),
            "sourceIndex": lag.source_index,
            "appliedIndex": lag.applied_index,
        }
        fields |= {"changes": changes, "resyncs": lag.resyncs, "retries": lag.retries}
        click.echo(json.dumps(fields, separators=(",", ":")))
    elif options.once:  # nobody follows the source, so there is no lag
        state = f"is as the source was at index {lag.applied_index}" if lag.resyncs else "is being made"
        click.echo(f"The copy {state}; {lag.retries} retries")
    else:
        text = f"{lag.seconds:.1f} s behind at index {lag.applied_index} of {lag.source_index}"
        click.echo(f"{text}; {changes} changes, {lag.resyncs} comparisons, {lag.retries} retries")
    if options.metrics_file is not None:
        metrics.write(options.metrics_file)
