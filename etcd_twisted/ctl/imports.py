"""
Imports a source into a running cluster: whether it may, what it does in which order, and what it tells.

This module must never write anything before it knows that the target is free, or that it may be overwritten.
"""

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import attrs
import click

from etcd_twisted.ctl.export_format import Record, RoleRecord, UserRecord
from etcd_twisted.ctl.failures import BAD_ARGUMENTS, SERVER_ERROR, CommandFailedError
from etcd_twisted.ctl.import_state import ImportState
from etcd_twisted.ctl.import_users import import_users
from etcd_twisted.ctl.import_writer import ImportWriter
from etcd_twisted.ctl.progress import Progress
from etcd_twisted.ctl.sources import Source, Survey
from etcd_twisted.ctl.subtree import Move

if TYPE_CHECKING:
    from etcd_twisted.client import Client

_BULK_TIMEOUT_SECONDS = 10.0


@attrs.frozen
class Options:
    """What the command line says; see the command."""

    source_directory: str | None
    target_directory: str | None
    overwrite: bool
    with_users: bool
    passwords: dict[str, str]
    in_flight: int
    state_file: Path | None


@attrs.define
class Summary:
    """What an import has done."""

    written: int
    expired: int
    users: int
    with_random_passwords: list[str]

    def show(self, output: str, seconds: float) -> None:
        """Print it."""
        if output == "json":
            fields = {"written": self.written, "expired": self.expired, "users": self.users}
            click.echo(json.dumps(fields | {"randomPasswords": self.with_random_passwords}, separators=(",", ":")))
            return
        parts = [f"Imported {self.written:,} keys and directories in {seconds:.1f} s"]
        if self.expired:
            parts.append(f"{self.expired:,} have expired meanwhile")
        if self.users:
            parts.append(f"{self.users:,} users, who count when users are enabled")
        click.echo("; ".join(parts))
        for name in self.with_random_passwords:
            click.echo(f"User {name} has a random password, since the file has none: set another")


@attrs.define
class Import:
    """
    One import.

    @ivar source: what is imported.
    @ivar survey: what there is in it, or C{None} if that is not known.
    @ivar options: the command line.
    @ivar shown: shows how far it is.
    """

    source: Source
    survey: Survey | None
    options: Options
    shown: Progress
    roles: list[RoleRecord] = attrs.field(factory=list)
    users: list[UserRecord] = attrs.field(factory=list)

    @property
    def move(self) -> Move:
        """Which keys are written, and where."""
        source_directory = self.options.source_directory or self.source.header.prefix
        return Move(source_directory, self.options.target_directory or source_directory)

    async def run(self, client: "Client") -> Summary:
        """Write everything."""
        from etcd_twisted.client import large

        move = self.move
        example = await self.key_there(client)
        identity = "" if self.survey is None else self.survey.identity
        state = ImportState(
            self.options.state_file if identity else None,
            identity,
            client.cluster_id or "",
            move.source,
            move.target,
            client.reactor.seconds(),
        )
        if state.load():
            if example is None:  # what was written is gone: the cluster began anew, maybe with the same id
                state.position = 0
        elif example is not None and not self.options.overwrite:
            text = f"{move.target} has keys already, such as {example}: choose another directory with --to"
            raise CommandFailedError(f"{text}, or have keys replaced with --overwrite", SERVER_ERROR)
        state.save()
        bulk = large.bulk(client, _BULK_TIMEOUT_SECONDS)
        writer = ImportWriter(client, bulk, state, move, self.options.overwrite, self.options.in_flight, self.shown)
        try:
            await writer.write(self._noted(self.source.records()))
        finally:
            bulk.close()
        if self.options.source_directory not in {None, "/"} and not writer.found:
            state.remove()
            text = f"there is nothing in {move.source} of {self.source.name}, which has {self.source.header.prefix}"
            raise CommandFailedError(f"{text}: nothing was written", BAD_ARGUMENTS)
        random = []
        if self.options.with_users:
            random = await import_users(client, self.roles, self.users, self.options.passwords)
        state.remove()
        return Summary(writer.written, writer.expired, len(self.users), random)

    def _noted(self, records: Iterator[Record]) -> Iterator[Record]:
        """Returns the records, and notes those of users and roles."""
        for record in records:
            if self.options.with_users and isinstance(record, RoleRecord):
                self.roles.append(record)
            elif self.options.with_users and isinstance(record, UserRecord):
                self.users.append(record)
            yield record

    async def key_there(self, client: "Client") -> str | None:
        """Returns a key that the target directory has already, or C{None}."""
        from etcd_twisted.client import KeyNotFound

        try:
            node = (await client.list(self.move.target, quorum=True)).node
        except KeyNotFound:
            return None
        if not node.directory:
            return node.key
        return node.nodes[0].key if node.nodes else None

    async def show_what_would_be(self, client: "Client", output: str) -> None:
        """Print what there is in the source, and whether it could be imported."""
        survey = self.survey
        if survey is None:
            survey, now = Survey(self.source.header), time.time()
            for record in self.source.records():
                survey.add(record, now)
        example = await self.key_there(client)
        if output == "json":
            fields = attrs.asdict(
                survey, filter=lambda field, _: not field.name.startswith("_") and field.name != "identity"
            )
            click.echo(json.dumps(fields | {"to": self.move.target, "there": example}, separators=(",", ":")))
            return
        header = survey.header
        if header.index:
            click.echo(f"Exported from {header.prefix} at index {header.index} ({header.server or 'an old server'})")
        click.echo(
            f"{survey.keys:,} keys and {survey.directories:,} directories, {survey.leased:,} of them with a TTL"
        )
        if survey.expired:
            click.echo(f"{survey.expired:,} have expired, and would not be imported")
        if survey.roles or survey.users:
            click.echo(f"{survey.roles:,} roles and {len(survey.users):,} users, which --users imports")
        if example is not None:
            what = "they would be replaced where the file has them" if self.options.overwrite else "refused"
            click.echo(f"{self.move.target} has keys already, such as {example}: {what}")
        click.echo("Nothing was written.")


def passwords_in(path: Path | None) -> dict[str, str]:
    """
    Returns the passwords in a file, by users' names.

    @raise CommandFailedError: it can't be used.
    """
    if path is None:
        return {}
    try:
        lines = path.read_text().splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise CommandFailedError(f"can't read {path}: {error}", BAD_ARGUMENTS) from error
    passwords = {}
    for number, line in enumerate(lines, 1):
        name, colon, password = line.partition(":")
        if not name or not colon or not password:
            raise CommandFailedError(f"{path}, line {number}: this is not NAME:PASSWORD", BAD_ARGUMENTS)
        passwords[name] = password
    return passwords
