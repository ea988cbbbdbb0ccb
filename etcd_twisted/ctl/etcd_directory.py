"""
C{import --from-data-dir}: from a data directory of etcd into one of this program, a file, or a running cluster.

It is a source of records like any other; what reads it is in L{etcd_twisted.datadir}. This module must never write
anything before all of the directory was read and found good.
"""

import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

import attrs
import click

from etcd_twisted.ctl.command import Tool
from etcd_twisted.ctl.data_directories import new_machine, show
from etcd_twisted.ctl.export_format import AuthRecord, ExportWriter, Header, NodeRecord, Record, RoleRecord, UserRecord
from etcd_twisted.ctl.sources import Source, Survey

if TYPE_CHECKING:
    from etcd_twisted.datadir.content import Content

_MICROSECONDS_PER_SECOND = 1_000_000


@attrs.frozen
class Target:
    """
    Where the data goes: nowhere if both are C{None}, but into a running cluster.

    @ivar directory: a new data directory of this program.
    @ivar file: a new file, as C{export} writes it.
    """

    directory: Path | None
    file: Path | None
    name: str | None
    client_url: str | None
    peer_url: str | None


@attrs.frozen
class ContentSource:
    """
    The content of a data directory, which can be read again and again.

    @ivar name: the path of the directory.
    @ivar header: what it is about.
    """

    name: str
    header: Header
    _content: "Content"

    def survey(self) -> Survey:
        """Returns what there is in it."""
        found, now = Survey(self.header, identity=f"{self.header.cluster}-{self.header.index}"), time.time()
        for record in self.records():
            found.add(record, now)
        return found

    def records(self) -> Iterator[Record]:
        """Returns the records."""
        auth = self._content.auth
        for role in auth.roles.values():
            yield RoleRecord(role.name, role.read or (), role.write or ())
        for user in auth.users.values():
            yield UserRecord(user.name, user.roles, user.password_hash)
        if auth.users or auth.roles:
            yield AuthRecord(auth.enabled)
        for key, value, node in self._content.nodes_of_clients():
            expires_at = None if node.expires is None else node.expires / _MICROSECONDS_PER_SECOND
            yield NodeRecord(key, value, expires_at, node.created, node.modified)


def open_etcd_directory(
    tool: Tool, directory: Path, wal_directory: Path | None, uncommitted: bool, target: Target, dry_run: bool
) -> Source | None:
    """
    Read a data directory of etcd, and put it where it should go, unless that is a running cluster.

    @return: the source to import into a running cluster; C{None} if there is nothing more to do.
    """
    from etcd_twisted.datadir import operations

    etcd, converted, summary = operations.read_etcd(directory, wal_directory, uncommitted)
    if dry_run:
        show(tool, summary)
        return None
    if target.directory is not None:
        new = new_machine(target.name, target.client_url, target.peer_url)
        made = operations.make_from_etcd(etcd, converted, target.directory, new)
        show(tool, summary, made)
        return None
    version = f"etcd {etcd.version}".rstrip()
    header = Header("/", etcd.store.index, time.time(), version, etcd.cluster_id, str(directory))
    source = ContentSource(str(directory), header, converted.content)
    if target.file is not None:
        operations.write_file(target.file, "--to-file", lambda file: _write(source, file))
        show(tool, summary)
        click.echo(f"Wrote it into {target.file}", err=True)
        return None
    return source


def _write(source: ContentSource, file: BinaryIO) -> None:
    writer = ExportWriter(file, source.header)
    for record in source.records():
        writer.write(record)
    writer.finish()
