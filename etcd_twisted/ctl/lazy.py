"""
A group whose commands are imported when they are needed, so that the tool starts quickly however many there are.

This module must never know a particular command.
"""

from importlib import import_module
from typing import Any

import click


class LazyGroup(click.Group):
    """
    Commands that are imported by name.

    @ivar sections: the commands by what they are about: each has a name, and C{module:object} in the package.
    @ivar package: the package in which the modules are.
    """

    def __init__(self, *arguments: Any, sections: dict[str, dict[str, str]], package: str, **keywords: Any) -> None:
        super().__init__(*arguments, **keywords)
        self.sections = sections
        self.package = package

    def list_commands(self, ctx: click.Context) -> list[str]:
        """See L{click.Group}."""
        del ctx
        return [name for section in self.sections.values() for name in section]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """See L{click.Group}."""
        del ctx
        for section in self.sections.values():
            if cmd_name in section:
                module, _, name = section[cmd_name].partition(":")
                command: click.Command = getattr(import_module(f"{self.package}.{module}"), name)
                return command
        return None

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the commands of each section, all with the same columns."""
        names = self.list_commands(ctx)
        width = max(map(len, names))
        limit = formatter.width - 6 - width
        for title, section in self.sections.items():
            commands = [(name, self.get_command(ctx, name)) for name in section]
            rows = [
                (name.ljust(width), command.get_short_help_str(limit))
                for name, command in commands
                if command is not None and not command.hidden
            ]
            if rows:
                with formatter.section(title):
                    formatter.write_dl(rows)
