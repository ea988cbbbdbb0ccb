"""
Writes what a cluster has into a file.

Everything below a directory is read at one index, with one read that is taken apart as it comes: so the copy is
consistent, and neither it nor the answer is ever held in memory. This module must never mix the records of two reads.
"""

import contextlib
from typing import TYPE_CHECKING, BinaryIO

import attrs

from etcd_twisted.ctl.export_format import AuthRecord, ExportWriter, Header, NodeRecord, RoleRecord, UserRecord
from etcd_twisted.ctl.failures import NO_CONNECTION, CommandFailedError
from etcd_twisted.ctl.progress import Progress

if TYPE_CHECKING:
    from etcd_twisted.client import Client, Index, Node, Role, User

_STEP = 1000
"""After how many records the bar moves."""


@attrs.define
class Export:
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
