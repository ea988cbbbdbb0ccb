"""
A group whose commands are imported when they are needed, so that the tool starts quickly however many there are.

This module must never know a particular command.
"""

import difflib
from importlib import import_module
from typing import Any

import click


class LazyGroup(click.Group):
    """
    Commands that are imported by name.

    @ivar sections: the commands by what they are about: each has a name, and C{module:object} in the package.
    @ivar aliases: other names of some of them.
    @ivar package: the package in which the modules are.
    """

    def __init__(
        self,
        *arguments: Any,
        sections: dict[str, dict[str, str]],
        aliases: dict[str, str],
        package: str,
        **keywords: Any,
    ) -> None:
        super().__init__(*arguments, **keywords)
        self.sections = sections
        self.aliases = aliases
        self.package = package

    def list_commands(self, ctx: click.Context) -> list[str]:
        """See L{click.Group}."""
        del ctx
        return [name for section in self.sections.values() for name in section]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """See L{click.Group}."""
        del ctx
        cmd_name = self.aliases.get(cmd_name, cmd_name)
        for section in self.sections.values():
            if cmd_name in section:
                module, _, name = section[cmd_name].partition(":")
                command: click.Command = getattr(import_module(f"{self.package}.{module}"), name)
                return command
        return None

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """
        See L{click.Group}.

        @raise click.UsageError: there is no such command. The text names those that look like it.
        """
        name = args[0]
        if not name.startswith("-") and not ctx.resilient_parsing and self.get_command(ctx, name) is None:
            similar = difflib.get_close_matches(name, [*self.list_commands(ctx), *self.aliases])
            hint = f" Did you mean {' or '.join(similar)}?" if similar else ""
            raise click.UsageError(f"No such command {name!r}.{hint}", ctx)
        return super().resolve_command(ctx, args)

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
