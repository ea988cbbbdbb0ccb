"""
What the commands for data directories do. Each operation is one function, which returns what to tell.

This module must never print anything, nor know how a command line looks, but for the names of its options.
"""

import os
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

import attrs

from etcd_twisted.config.addresses import read_url
from etcd_twisted.consensus.raft.entries import Configuration
from etcd_twisted.consensus.storage.files import naming
from etcd_twisted.datadir import summaries
from etcd_twisted.datadir.backup_file import is_backup, read_backup, write_backup
from etcd_twisted.datadir.content import Content
from etcd_twisted.datadir.etcd.directory import EtcdDirectory, read_etcd_directory
from etcd_twisted.datadir.from_etcd import Converted, convert, machine_like
from etcd_twisted.datadir.machine import make_machine_directory, read_machine_directory, read_running_machine_directory
from etcd_twisted.datadir.summaries import Summary
from etcd_twisted.datadir.unfinished import put_in_place, unfinished
from etcd_twisted.errors import StorageError
from etcd_twisted.interfaces.cluster import NAME, Machine


@attrs.frozen
class NewMachine:
    """
    How the machine of a new data directory is to be called and reached. What is C{None} is as it was.
    """

    name: str | None = None
    client_url: str | None = None
    peer_url: str | None = None

    def machine(self, before: Machine | None) -> Machine:
        """
        Returns the machine.

        @param before: the machine whose data it was, if that is known.
        @raise ValueError: something of it is missing, or wrong.
        """
        name = self.name or (before.name if before else None)
        client_url = self.client_url or (before.client_url if before else None)
        peer_url = self.peer_url or (before.peer_url if before else None)
        if not (name and client_url and peer_url):
            missing = {"--name": name, "--client-url": client_url, "--peer-url": peer_url}
            options = ", ".join(option for option, value in missing.items() if not value)
            raise ValueError(f"the new machine's name and URLs are not known: give {options}")
        if not NAME.fullmatch(name):
            raise ValueError(f"{name!r} can't be the name of a machine: use letters, digits, '.', '_' and '-'")
        return Machine(name, _url("--client-url", client_url), _url("--peer-url", peer_url))


def check(path: Path) -> Summary:
    """
    Read a whole data directory of a machine, or a backup.

    @raise StorageError: it is damaged, in use, or neither.
    """
    if path.is_dir():
        return summaries.of_machine(read_machine_directory(path, "the path"))
    return summaries.of_backup(path, _read_backup(path))


def back_up_directory(directory: Path, file: Path, running: bool = False) -> Summary:
    """
    Make a backup of a machine.

    @param running: whether the machine may run.
    @raise StorageError: the directory is damaged or in use, or the backup can't be written.
    """
    read = read_running_machine_directory if running else read_machine_directory
    found = read(directory, "--data-dir")
    write_backup(file, "the backup", found.content)
    return summaries.of_backup(file, read_backup(file))


def restore(source: Path, directory: Path, new: NewMachine) -> Summary:
    """
    Make the data directory of the first machine of a new cluster.

    @param source: a backup, or the data directory of a machine that does not run.
    @raise StorageError: the source is damaged or in use, or the directory can't be made.
    @raise ValueError: the new machine's name or URLs are missing, or wrong.
    """
    if source.is_dir():
        found = read_machine_directory(source, "the path")
        content, name = found.content, found.identity.name
    else:
        content, name = _read_backup(source), None
    machine = new.machine(_before(content.configuration, new.name or name))
    return _make(directory, "--data-dir", content, machine)


def read_etcd(
    directory: Path, wal_directory: Path | None, uncommitted: bool = False
) -> tuple[EtcdDirectory, Converted, Summary]:
    """
    Read a data directory of etcd, and say what there is.

    @param wal_directory: where its log is, if that is not in the directory.
    @param uncommitted: whether to take what the log has behind the commit index that it knows too.
    @raise StorageError: it is damaged, in use or none.
    """
    etcd = read_etcd_directory(directory, wal_directory, uncommitted)
    converted = convert(etcd)
    return etcd, converted, summaries.of_etcd(etcd, converted)


def make_from_etcd(etcd: EtcdDirectory, converted: Converted, directory: Path, new: NewMachine) -> Summary:
    """
    Make the data directory of the first machine of a new cluster from that of etcd.

    @raise StorageError: the directory can't be made.
    @raise ValueError: the new machine's name or URLs are missing, or wrong.
    """
    return _make(directory, "--to-data-dir", converted.content, new.machine(machine_like(etcd)))


def write_file(path: Path, option: str, write: Callable[[BinaryIO], None]) -> None:
    """
    Write a new file, which has its name only when it is whole, and which only its owner may read.

    @param option: what named the path, for messages.
    @raise StorageError: there is something at the path, or the disk has failed.
    """
    path = path.absolute()
    with unfinished(path, option) as place, naming(place):
        made = place / "file"
        with open(made, "xb", opener=lambda name, flags: os.open(name, flags, 0o600)) as file:
            write(file)
            file.flush()
            os.fsync(file.fileno())
        put_in_place(made, path)


def _make(directory: Path, option: str, content: Content, machine: Machine) -> Summary:
    make_machine_directory(directory, option, content, machine)
    return summaries.of_machine(read_machine_directory(directory, option))


def _before(configuration: Configuration, name: str | None) -> Machine | None:
    """Returns the machine of this name in a configuration, or the only one."""
    members = list(configuration.members.values())
    members = [each for each in members if each.name == name] or members
    if len(members) != 1:
        return None
    return Machine(members[0].name, members[0].client_url, members[0].peer_url)


def _read_backup(path: Path) -> Content:
    if not is_backup(path):
        raise StorageError(f"{path} is neither a backup nor a data directory")
    return read_backup(path)


def _url(option: str, text: str) -> str:
    try:
        is_encrypted, address = read_url(text)
        address.check_reachable()
    except ValueError as error:
        raise ValueError(f"{option} {error}") from None
    return address.url("https" if is_encrypted else "http")
