"""
The command that saves keys: C{export}.

It reads everything below a directory at one index with one quorum read, which it takes apart as it comes: so the copy
is consistent, and neither it nor the answer is ever held in memory. This module must never leave half a file under the
name of a whole one.
"""

import contextlib
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

import attrs
import click

from etcd_twisted.ctl.command import Command, Tool, text
from etcd_twisted.ctl.export_format import AuthRecord, ExportWriter, Header, NodeRecord, RoleRecord, UserRecord
from etcd_twisted.ctl.failures import BAD_ARGUMENTS, NO_CONNECTION, CommandFailedError
from etcd_twisted.ctl.progress import Progress, progress
from etcd_twisted.ctl.subtree import is_within, normal

if TYPE_CHECKING:
    from etcd_twisted.client import Client, Index, Node, Role, User

_STEP = 1000
"""After how many records the bar moves."""


def _keys(_ctx: click.Context, _param: click.Parameter, keys: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(normal(text(key)) for key in keys)


@attrs.define
class _Export:
    """
    One export.

    @ivar directory: what is exported.
    @ivar hidden: hidden keys to export too.
    @ivar origin: where the machines are, for people.
    @ivar quorum: whether a quorum has to confirm the read.
    @ivar file: where to.
    @ivar can_begin_again: whether what was written can be taken back.
    @ivar shown: shows how far it is.
    @ivar writer: writes the records.
    """

    directory: str
    hidden: tuple[str, ...]
    origin: str
    quorum: bool
    file: BinaryIO
    can_begin_again: bool
    shown: Progress
    writer: ExportWriter | None = None
    roles: "tuple[Role, ...]" = ()
    users: "tuple[User, ...]" = ()
    auth: bool | None = None
    server: str = ""

    async def run(self, client: "Client", with_users: bool) -> ExportWriter:
        """Write everything, and return what has written it."""
        from etcd_twisted.client import ClientError
        from etcd_twisted.client.large import walk

        if with_users:
            self.roles, self.users = await client.auth.roles(), await client.auth.users()
            self.auth = await client.auth.is_enabled()
        with contextlib.suppress(ClientError):  # it is for people, and old servers don't tell
            self.server = (await client.version()).server
        await walk(client, self.directory, lambda index: self._begin(client, index), quorum=self.quorum)
        for key in self.hidden:
            await self._add(client, key)
        assert self.writer is not None  # noqa: S101  # a listing begins with a call of _begin
        self.writer.finish()
        return self.writer

    def _begin(self, client: "Client", index: "Index") -> "_Take":
        if self.writer is not None:
            self._begin_again()
        header = Header(
            self.directory,
            index.etcd_index,
            client.reactor.seconds(),
            self.server,
            client.cluster_id or "",
            self.origin,
        )
        self.writer = writer = ExportWriter(self.file, header)
        for role in self.roles:
            writer.write(RoleRecord(role.name, role.read, role.write))
        for user in self.users:
            writer.write(UserRecord(user.name, user.roles))
        if self.auth is not None:
            writer.write(AuthRecord(self.auth))
        return _Take(writer, self.shown)

    def _begin_again(self) -> None:
        if not self.can_begin_again:
            raise CommandFailedError(
                "the connection broke, and what was written to the standard output can't be taken back:"
                " name a file with --file",
                NO_CONNECTION,
            )
        self.file.seek(0)
        self.file.truncate()

    async def _add(self, client: "Client", key: str) -> None:
        """Write a hidden key, with everything below it that is not hidden."""
        from etcd_twisted.client.large import walk

        nodes: list[Node] = []

        def begin(_: "Index") -> "_Take | object":
            nodes.clear()
            return nodes.append

        await walk(client, key, begin, quorum=self.quorum)  # type: ignore[arg-type]
        assert self.writer is not None  # noqa: S101  # see run
        take = _Take(self.writer, self.shown)
        for node in nodes:
            take(node)


@attrs.frozen
class _Take:
    """Takes the nodes of a listing."""

    writer: ExportWriter
    shown: Progress

    def __call__(self, node: "Node") -> None:
        """Write one."""
        if node.key == "/":
            return
        value = None if node.directory else node.value or ""
        self.writer.write(NodeRecord(node.key, value, node.expires_at, node.created_index, node.modified_index))
        if self.writer.count % _STEP == 0:
            self.shown(self.writer.count)


@contextlib.contextmanager
def _whole_file(path: Path) -> Iterator[BinaryIO]:
    """A file that gets its name when the block has succeeded, and is on the disk then."""
    partial = path.with_name(f"{path.name}.partial")
    try:
        with partial.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    except OSError as error:
        raise CommandFailedError(f"can't write {partial}: {error.strerror}", BAD_ARGUMENTS) from error
    finally:
        partial.unlink(missing_ok=True)


@click.command(cls=Command)
@click.option("--file", "-f", metavar="FILE", type=click.Path(path_type=Path), help="Where to; else the output.")
@click.option(
    "--hidden",
    metavar="KEY",
    multiple=True,
    callback=_keys,
    help="Export this hidden key too, which no listing shows; may be repeated.",
)
@click.option("--users", is_flag=True, help="Export users and roles too. The API does not tell passwords.")
@click.option(
    "--no-quorum",
    is_flag=True,
    help="Take one machine's copy, which may be old: for a cluster that has lost its majority.",
)
@click.argument("directory", default="/", callback=lambda _ctx, _param, value: normal(text(value)))
@click.pass_obj
def export(
    tool: Tool, directory: str, file: Path | None, hidden: tuple[str, ...], users: bool, no_quorum: bool
) -> None:
    """
    Save a directory, or everything, as JSON lines.

    All keys are as they were at one index, with their directories and the times at which they expire.
    """
    for key in hidden:
        if not is_within(key, directory):
            raise click.UsageError(f"--hidden {key} is not below {directory}, which is exported")
    with contextlib.ExitStack() as stack:
        output = sys.stdout.buffer if file is None else stack.enter_context(_whole_file(file))
        shown = stack.enter_context(progress("Exporting", None))
        origin = tool.settings.discovery_srv or ",".join(tool.settings.endpoints)
        exporting = _Export(directory, hidden, origin, not no_quorum, output, file is not None, shown)
        writer = tool.run(lambda client: exporting.run(client, users))
        output.flush()
    summary = f"Exported {writer.count} records"
    if users and exporting.users:
        summary += "; passwords are not among them, since the API does not tell them"
    click.echo(summary, err=True)
