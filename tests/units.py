"""
Units of systemd, as far as a test reads them and does what they say without systemd.
"""

import re
import shlex
import sysconfig
from collections.abc import Mapping
from pathlib import Path

from tests.processes.child import SOURCE

UNITS = SOURCE / "systemd"
"""The directory of the units."""

PROGRAM = "/opt/etcd-twisted/bin/etcd-twisted"
"""The program that they start, which is installed where no test may write."""

INSTALLED = str(Path(sysconfig.get_path("scripts")) / "etcd-twisted")
"""The same program as it is installed for the tests."""


class Unit:
    """
    A unit file under a name.

    @ivar name: with its type, as in C{etcd-twisted@machine0.service}.
    """

    def __init__(self, file: str, name: str) -> None:
        self.name = name
        self._stem = name.rpartition(".")[0]
        self._lines: list[tuple[str, str, str]] = []
        section = ""
        for line in (UNITS / file).read_text().splitlines():
            if line.startswith("["):
                section = line.strip("[]")
            elif line and not line.startswith("#"):
                setting, _, value = line.partition("=")
                self._lines.append((section, setting, value))

    def values(self, section: str, setting: str) -> list[str]:
        """Returns all values of a setting."""
        return [value for each, name, value in self._lines if (each, name) == (section, setting)]

    def value(self, section: str, setting: str) -> str:
        """Returns the value of a setting that is there once."""
        (value,) = self.values(section, setting)
        return value

    def expanded(self, text: str, state: Path) -> str:
        """Returns a text with its specifiers (systemd.unit(5)) expanded; the services' data are in C{state}."""
        meanings = {"%N": self._stem, "%i": self._stem.partition("@")[2], "%S": str(state)}
        return re.sub("%.", lambda found: meanings[found[0]], text)

    def command(self) -> list[str]:
        """Returns the command that the unit starts, with the program as it is installed for the tests."""
        program, *arguments = shlex.split(self.value("Service", "ExecStart"))
        if program != PROGRAM:
            raise AssertionError(f"{self.name} starts {program}")
        return [INSTALLED, *arguments]

    def environment(self, state: Path, file: str = "") -> Mapping[str, str]:
        """
        Returns the variables that the command starts with.

        @param file: the content of its C{EnvironmentFile}, which takes precedence.
        """
        given = [each for line in self.values("Service", "Environment") for each in line.split()]
        given = [self.expanded(each, state) for each in given]
        given += [line for line in file.splitlines() if line and not line.startswith("#")]
        return dict(each.split("=", 1) for each in given)
