"""
The manual page, C{docs/txetcdctl.1}, made of what the commands say of themselves: C{make manual} writes it.

This module must never know a particular command.
"""

import sys
from collections.abc import Iterator

import click

from etcd_twisted.ctl.command import NAME
from etcd_twisted.ctl.lazy import LazyGroup
from etcd_twisted.ctl.main import cli

_STATUSES = (
    ("0", "It is done."),
    ("1", "The command line is wrong, get was given a directory, or nobody reads the output any more."),
    ("2", "No machine has answered. Nothing was changed."),
    ("4", "The cluster answers with an error, or it is not known whether a change was made."),
    ("5", "health: not all machines are healthy."),
    ("6", "check, backup or restore: the data directory or the backup can't be used."),
    ("130, 143", "Ctrl-C or SIGTERM has ended it."),
    ("others", "lock: that of the command that it has run."),
)


def page(group: LazyGroup) -> str:
    """Returns the page, for man."""
    return "\n".join(_lines(group)) + "\n"


def _lines(group: LazyGroup) -> Iterator[str]:
    context = click.Context(group, info_name=NAME, **group.context_settings)
    yield f'.TH {NAME.upper()} 1 "" etcd_twisted'
    yield f".SH NAME\n{NAME} \\- {_plain(group.get_short_help_str(200).rstrip('.'))}"
    yield f".SH SYNOPSIS\n.B {NAME}\n[OPTIONS] COMMAND [ARGUMENTS]"
    yield f".SH DESCRIPTION\n{_paragraphs(group.help or '')}"
    yield ".SH OPTIONS"
    yield from _options(group, context)
    for title, section in group.sections.items():
        if section:
            yield f'.SH "{title.upper()}"'
        for name in section:
            yield from _command(group.get_command(context, name), name, context)
    yield ".SH ENVIRONMENT"
    for param in group.get_params(context):
        if param.envvar:
            names = [param.envvar] if isinstance(param.envvar, str) else param.envvar
            yield f".TP\n{_plain(', '.join(names))}\nThe option {_plain(param.opts[0])}."
    yield ".TP\nNO_COLOR\nIf it is set, nothing is coloured."
    yield ".SH EXIT STATUS"
    for status, meaning in _STATUSES:
        yield f".TP\n{_plain(status)}\n{_plain(meaning)}"


def _command(command: click.Command | None, name: str, parent: click.Context) -> Iterator[str]:
    """Returns what there is about a command, or about all commands of a group."""
    if command is None:
        return
    context = click.Context(command, info_name=name, parent=parent)
    if isinstance(command, click.Group):
        for each in command.list_commands(context):
            yield from _command(command.get_command(context, each), each, context)
        return
    usage = " ".join(command.collect_usage_pieces(context))
    words = context.command_path.removeprefix(f"{NAME} ")
    yield f".SS {_plain(words)} {_plain(usage)}\n{_paragraphs(command.help or '')}"
    yield from _options(command, context)


def _options(command: click.Command, context: click.Context) -> Iterator[str]:
    """Yields each option. That for help is the same everywhere; click may have nothing to say of arguments."""
    for param in command.get_params(context):
        record = param.get_help_record(context)
        if record is not None and record[1] and ("--help" not in param.opts or command is cli):
            yield f".TP\n.B {_plain(record[0])}\n{_plain(record[1])}"


def _paragraphs(text: str) -> str:
    """Returns paragraphs. Those that begin with click's C{\\b} keep their lines."""
    shown = []
    for each in text.strip().split("\n\n"):
        if each.startswith("\b"):
            shown.append(f".nf\n{_plain(each.removeprefix(chr(8)).strip())}\n.fi")
        else:
            shown.append(_plain(" ".join(each.split())))
    return "\n.PP\n".join(shown)


def _plain(text: str) -> str:
    """Returns a text in which nothing is a request of roff."""
    escaped = text.replace("\\", "\\e").replace("-", "\\-")
    return "\n".join(f"\\&{line}" if line[:1] in (".", "'") else line for line in escaped.split("\n"))


if __name__ == "__main__":
    sys.stdout.write(page(cli))
