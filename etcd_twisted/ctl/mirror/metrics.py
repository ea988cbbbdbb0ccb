"""
Figures of a mirror in Prometheus's text format: over HTTP, or in a file for the node exporter.

This module must never hold up what is copied.
"""

from pathlib import Path
from typing import Any

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from twisted.web.resource import Resource
from twisted.web.server import Request, Site

from etcd_twisted.ctl.failures import BAD_ARGUMENTS, CommandFailedError
from etcd_twisted.ctl.mirror.lag import Lag

_CONTENT_TYPE = b"text/plain; version=0.0.4; charset=utf-8"


class Metrics:
    """The figures of one mirror."""

    def __init__(self, lag: Lag) -> None:
        self._lag = lag
        self._registry = CollectorRegistry(auto_describe=False)
        self._registry.register(self)

    def collect(self) -> Any:
        """See L{prometheus_client.registry.Collector}."""
        lag = self._lag
        for name, text, value in (
            ("lag_seconds", "How far the copy is behind the source.", lag.seconds),
            ("source_index", "The highest index of the source that was seen.", lag.source_index),
            ("applied_index", "The index up to which the copy has everything.", lag.applied_index),
        ):
            yield GaugeMetricFamily(f"txetcdctl_mirror_{name}", text, value)
        changes = CounterMetricFamily("txetcdctl_mirror_changes", "Changes made in the copy.", labels=["action"])
        for action, count in sorted(lag.changes.items()):
            changes.add_metric([action], count)
        yield changes
        for name, text, value in (
            ("resyncs", "How often the copy was compared with the source.", lag.resyncs),
            ("retries", "How often a request to the target was repeated.", lag.retries),
        ):
            yield CounterMetricFamily(f"txetcdctl_mirror_{name}", text, value)

    def text(self) -> bytes:
        """Returns all of them."""
        return generate_latest(self._registry)

    def write(self, path: Path) -> None:
        """
        Write them into a file, which is never half written.

        @raise CommandFailedError: that is not possible.
        """
        partial = path.with_name(f"{path.name}.partial")
        try:
            partial.write_bytes(self.text())
            partial.replace(path)
        except OSError as error:
            text = f"--metrics-file: can't write {partial}: {error.strerror}"
            raise CommandFailedError(text, BAD_ARGUMENTS) from error

    def site(self) -> Site:
        """Returns what serves them at C{/metrics}."""
        root = Resource()
        root.putChild(b"metrics", _Page(self))
        site = Site(root)
        site.noisy = False
        return site


class _Page(Resource):
    isLeaf = True  # noqa: N815  # Twisted's name

    def __init__(self, metrics: Metrics) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._metrics = metrics

    def render_GET(self, request: Request) -> bytes:
        """Returns the page."""
        request.setHeader(b"Content-Type", _CONTENT_TYPE)
        return self._metrics.text()
