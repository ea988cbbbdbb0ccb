"""
The command line of a machine, made from L{etcd_twisted.config.config.OPTIONS}.

This module must never know one option from another: only the table knows what can be set and what a valid value is.
"""

import getopt
import os
import shutil
import sys
import textwrap
from collections.abc import Callable, Mapping, Sequence

from twisted.copyright import version as twisted_version
from twisted.python import usage

from etcd_twisted import __version__
from etcd_twisted.config.config import OPTIONS, Config
from etcd_twisted.config.etcd2 import FOREIGN_SETTINGS, ForeignSetting
from etcd_twisted.config.loading import LIKELY_TYPO, load_config, nearest
from etcd_twisted.config.option import Option
from etcd_twisted.config.value_types import Form
from etcd_twisted.errors import ConfigError

_INDENT = " " * 6
_DASHES = "; options begin with --, as in --name machine0"

_FOREIGN_FLAGS = tuple(setting.flag for setting in FOREIGN_SETTINGS)
_FLAGS = (
    *(
        flag
        for option in OPTIONS
        for flag in ((option.flag, f"--no-{option.name}") if option.form is Form.SWITCH else (option.flag,))
    ),
    *_FOREIGN_FLAGS,
)
_FOREIGN_SWITCHES = frozenset(setting.flag for setting in FOREIGN_SETTINGS if setting.form is Form.SWITCH)
_FLAGS_WITH_VALUES = frozenset(
    (*(option.flag for option in OPTIONS if option.form is not Form.SWITCH), *_FOREIGN_FLAGS)
)


class MachineOptions(usage.Options):
    """
    The settings from the command line, the environment and the configuration file.

    Each option of the table is a flag here; a switch is a pair, C{--snapshot} and C{--no-snapshot}. If a flag is given
    twice the last one counts, unless the option collects its values. All of them are checked.

    @cvar program: the command whose options these are. Each error begins with it.
    @ivar given: the values of the flags that were given, as L{load_config} takes them.
    """

    program = "twistd etcd"
    synopsis = "[options]"
    longdesc = (
        "Each option can also be set by the environment variable, and in a TOML file by its name without the dashes. "
        "Flags win over variables, variables over the file, the file over the defaults."
    )

    def __init__(self, environment: Mapping[str, str] = os.environ) -> None:
        self.given: dict[str, tuple[str, ...]] = {}
        self._counted: dict[str, int] = {}
        self._environment = environment
        self._config: Config | None = None
        super().__init__()  # type: ignore[no-untyped-call]  # Twisted has no types there

    def config(self) -> Config:
        """
        Returns the configuration that the flags, the environment and the file amount to.

        @raise ConfigError: a value can't be used, or the file can't be read. After C{parseOptions} it never does.
        """
        if self._config is None:
            self._config = load_config(self.given, self._environment)
        return self._config

    def parseOptions(self, options: Sequence[str] | None = None) -> None:
        """
        Read the command line, and check everything that was set.

        C{twistd} answers a L{usage.UsageError} with its whole help text on standard output. Here, somebody who
        mistyped a value gets one line on standard error, and the process ends with status 1.

        @raise SystemExit: something can't be used.
        """
        arguments = _with_values(sys.argv[1:] if options is None else options)
        try:
            super().parseOptions(arguments)  # type: ignore[no-untyped-call]  # Twisted has no types there
            self.config()
        except usage.UsageError as e:
            sys.exit(f"{self.program}: {e}{self._remedy(e.__context__, arguments)}")
        except ConfigError as e:
            sys.exit(f"{self.program}: {e}")

    def _remedy(self, reason: BaseException | None, arguments: Sequence[str]) -> str:
        """Returns the end of the error for a command line that C{getopt} refuses: what to do about it."""
        if not isinstance(reason, getopt.GetoptError):
            return ""
        for option in OPTIONS:
            if option.form is Form.SWITCH and reason.opt in {option.name, f"no-{option.name}"}:
                return f": give {_pair(option)}"
        if not reason.msg.endswith("not recognized"):
            return ""
        refused = _refused(reason, arguments)
        if self._is_of_twistd(refused):
            return f"; it is an option of twistd itself, which stands before etcd, as in twistd {refused} etcd"
        close = nearest(refused, _FLAGS, LIKELY_TYPO) if len(refused) > len("-x") else None
        hint = "" if close is None else f"; did you mean {close}?"
        return hint or ("" if refused.startswith("--") else _DASHES)

    def _is_of_twistd(self, flag: str) -> bool:
        """Returns whether C{twistd} has this option."""
        if self.parent is None:
            return False
        if flag.startswith("--"):
            return flag[2:] in {name.rstrip("=") for name in self.parent.longOpt}
        return len(flag) == len("-x") and flag[1] in self.parent.shortOpt.replace(":", "")

    def parseArgs(self, *arguments: str) -> None:
        """Refuse arguments that are not flags."""
        if arguments:
            switches = [option for option in OPTIONS if option.form is Form.SWITCH and option.name in self.given]
            hint = "".join(f"; {option.flag} takes no value: give {_pair(option)}" for option in switches)
            raise usage.UsageError(f"{arguments[0]!r} is not an option{_DASHES}{hint}")

    def collect(self, setting: Option | ForeignSetting, value: str) -> None:
        """Add a value that was given for a setting."""
        self.given[setting.name] = (*self.given.get(setting.name, ()), value)

    def count(self, option: Option) -> None:
        """Count an option's letter once more."""
        times = self._counted[option.name] = self._counted.get(option.name, 0) + 1
        self.collect(option, str(times))

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
        Returns the help text, with each option's variable and default.

        @param width: the longest line, in characters.
        """
        width = width or shutil.get_terminal_size().columns
        blocks = [_explain(option, width) for option in OPTIONS]
        blocks += [_block(f"--{name}", str(self.docs[name]), width) for name in ("version", "help")]
        foreign = f"Settings of etcd 2 and later are taken too: {', '.join(_FOREIGN_FLAGS)}."
        notes = (textwrap.fill(text, width, break_on_hyphens=False) for text in (self.longdesc, foreign))
        return "\n".join(["Options:", *blocks, *(line for note in notes for line in ("", note))])


def _with_values(arguments: Sequence[str]) -> list[str]:
    """
    Returns the arguments with a value for each switch of etcd that has none, as programs in Go accept both and
    C{getopt} does not.
    """
    complete: list[str] = []
    is_value = False
    for argument in arguments:
        complete.append(f"{argument}=true" if argument in _FOREIGN_SWITCHES and not is_value else argument)
        is_value = not is_value and complete[-1] in _FLAGS_WITH_VALUES
    return complete


def _refused(reason: getopt.GetoptError, arguments: Sequence[str]) -> str:
    """
    Returns the argument that C{getopt} does not know. Of C{-name} it names only the first letter: programs in Go take
    options with one dash.
    """
    name = str(reason.opt)
    for argument in arguments:
        given = argument.partition("=")[0]
        if given == f"--{name}" or (given.startswith("-") and name in given and not given.startswith("--")):
            return given
    return f"--{name}"


def _pair(option: Option) -> str:
    return f"{option.flag} or --no-{option.name}"


def _explain(option: Option, width: int) -> str:
    usages = {
        Form.SWITCH: f"{option.flag}, --no-{option.name}",
        Form.LIST: f"{option.flag} {option.metavar} ...",
    }
    title = usages.get(option.form, f"{option.flag} {option.metavar}")
    if option.letter:
        title += f", -{option.letter}, -{option.letter * 2}"
    return _block(title, f"{option.help} [{option.variable}; default: {option.defaults}]", width)


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


def _collecting(setting: Option | ForeignSetting) -> Callable[[MachineOptions, str], None]:
    def handler(options: MachineOptions, value: str) -> None:
        options.collect(setting, value)

    return handler


def _switching(option: Option, value: str) -> Callable[[MachineOptions], None]:
    def handler(options: MachineOptions) -> None:
        options.collect(option, value)

    return handler


def _counting(option: Option) -> Callable[[MachineOptions], None]:
    def handler(options: MachineOptions) -> None:
        options.count(option)

    return handler


def _add_handlers() -> None:
    """
    Give L{MachineOptions} the C{opt_} methods, in which C{usage.Options} looks for its flags.

    C{optParameters} and C{optFlags} would keep only the last of several values, so that the others could not be
    checked; nor would they keep which flag of a pair came last.
    """
    for option in OPTIONS:
        if option.form is Form.SWITCH:
            setattr(MachineOptions, f"opt_{option.key}", _switching(option, "true"))
            setattr(MachineOptions, f"opt_no_{option.key}", _switching(option, "false"))
        else:
            setattr(MachineOptions, f"opt_{option.key}", _collecting(option))
        if option.letter:
            setattr(MachineOptions, f"opt_{option.letter}", _counting(option))
    for setting in FOREIGN_SETTINGS:
        setattr(MachineOptions, f"opt_{setting.key}", _collecting(setting))


_add_handlers()
