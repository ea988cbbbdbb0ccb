"""
The command line of C{twistd etcd}, made from L{etcd_twisted.config.OPTIONS}.

Must never know one option from another: what can be set, and what is a good value, is the table's business alone.
"""

import os
import shutil
import sys
import textwrap
from collections.abc import Callable, Mapping, Sequence

from twisted.copyright import version as twisted_version
from twisted.python import usage

from etcd_twisted import __version__
from etcd_twisted.config import OPTIONS, Config, Form, Option, load_config
from etcd_twisted.errors import ConfigError

_INDENT = " " * 6


class Options(usage.Options):
    """
    What was asked for on the command line, in the environment and in the configuration file.

    Each option of the table is a flag here; a switch is a pair, C{--snapshot} and C{--no-snapshot}. Where a flag is
    given twice the last one counts, but for those that collect their values.

    @ivar given: the flags that were given, as L{load_config} takes them.
    """

    synopsis = "[options]"
    longdesc = (
        "Each option can also be set by the environment variable, and in a TOML file by its name without the dashes. "
        "Flags win over variables, variables over the file, the file over the defaults."
    )

    def __init__(self, environment: Mapping[str, str] = os.environ) -> None:
        self.given: dict[str, str | tuple[str, ...]] = {}
        self._environment = environment
        self._config: Config | None = None
        super().__init__()  # type: ignore[no-untyped-call]  # Twisted has no types there

    def config(self) -> Config:
        """
        The configuration that the flags, the environment and the file amount to.

        @raise ConfigError: a value can't be used, or the file can't be read. After C{parseOptions} it never does.
        """
        if self._config is None:
            self._config = load_config(self.given, self._environment)
        return self._config

    def parseOptions(self, options: Sequence[str] | None = None) -> None:
        """
        Read the command line, and check everything that was set.

        C{twistd} meets a L{usage.UsageError} with its whole help text on standard output. Somebody who mistyped one
        value is told in one line on standard error, and the process ends with status 1.

        @raise SystemExit: something can't be used.
        """
        try:
            super().parseOptions(options)  # type: ignore[no-untyped-call]  # Twisted has no types there
            self.config()
        except (usage.UsageError, ConfigError) as e:
            sys.exit(f"twistd etcd: {e}")

    def parseArgs(self, *arguments: str) -> None:
        """Refuse what is not a flag."""
        if arguments:
            raise usage.UsageError(f"{arguments[0]!r} is not an option; options begin with --, as in --name machine0")

    def opt_version(self) -> None:
        """Print the versions of this service and of Twisted, and exit."""
        sys.stdout.write(f"etcd_twisted {__version__} (Twisted {twisted_version})\n")
        sys.exit(0)

    def opt_help(self) -> None:
        """Print this help and exit."""
        sys.stdout.write(f"{self}\n")
        sys.exit(0)

    def getUsage(self, width: int | None = None) -> str:
        """
        The help text, with each option's variable and default.

        @param width: how wide it may be, in characters.
        """
        width = width or shutil.get_terminal_size().columns
        blocks = [_explain(option, width) for option in OPTIONS]
        blocks += [_block(f"--{name}", str(self.docs[name]), width) for name in ("version", "help")]
        return "\n".join(["Options:", *blocks, "", textwrap.fill(self.longdesc, width)])


def _explain(option: Option, width: int) -> str:
    usages = {
        Form.SWITCH: f"{option.flag}, --no-{option.name}",
        Form.LIST: f"{option.flag} {option.metavar} ...",
    }
    title = usages.get(option.form, f"{option.flag} {option.metavar}")
    return _block(title, f"{option.help} [{option.variable}; default: {option.default}]", width)


def _block(title: str, text: str, width: int) -> str:
    body = textwrap.fill(
        text,
        max(width, 40),
        initial_indent=_INDENT,
        subsequent_indent=_INDENT,
        break_long_words=False,
        break_on_hyphens=False,
    )
    return f"  {title}\n{body}"


def _taking_value(option: Option) -> Callable[[Options, str], None]:
    def handler(options: Options, value: str) -> None:
        options.given[option.name] = value

    return handler


def _collecting(option: Option) -> Callable[[Options, str], None]:
    def handler(options: Options, value: str) -> None:
        options.given[option.name] = (*options.given.get(option.name, ()), value)

    return handler


def _switching(option: Option, value: str) -> Callable[[Options], None]:
    def handler(options: Options) -> None:
        options.given[option.name] = value

    return handler


def _add_handlers(option: Option) -> None:
    """Give L{Options} the C{opt_} methods, in which C{usage.Options} looks for its flags."""
    attribute = option.key
    if option.form is Form.SWITCH:
        setattr(Options, f"opt_{attribute}", _switching(option, "true"))
        setattr(Options, f"opt_no_{attribute}", _switching(option, "false"))
    else:
        make = _collecting if option.form is Form.LIST else _taking_value
        setattr(Options, f"opt_{attribute}", make(option))


for _option in OPTIONS:
    _add_handlers(_option)
