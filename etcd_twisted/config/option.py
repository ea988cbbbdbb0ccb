"""
An option, and how a field of L{etcd_twisted.config.Config} declares one.

This module must never know one option from another.
"""

from collections.abc import Callable
from typing import Any, TypeVar

import attrs

from etcd_twisted.config.value_types import Form, ValueType

T = TypeVar("T")
D = TypeVar("D")


@attrs.frozen
class Option:
    """
    Something that can be set.

    @ivar form: how its value is written.
    @ivar parse: makes one value from its text; raises L{ValueError} with what the text should be.
    @ivar metavar: stands for a value in help texts.
    @ivar help: says what it sets, in a sentence.
    @ivar default: the default as one would write it, or a description of where it comes from.
    @ivar has_literal_default: whether L{default} is a value that L{parse} takes.
    @ivar letter: a flag of one letter that sets a number to how often it is given, as C{-vv} does; or empty.
    @ivar name: the flag without its dashes.
    @ivar field: the attribute of L{etcd_twisted.config.Config} that it sets; C{None} if it sets none.
    """

    form: Form
    parse: Callable[[str], object]
    metavar: str
    help: str
    default: str = "none"
    has_literal_default: bool = False
    letter: str = ""
    name: str = ""
    field: str | None = None

    @property
    def flag(self) -> str:
        """The flag with its dashes."""
        return f"--{self.name}"

    @property
    def key(self) -> str:
        """The key in a TOML file, in its spelling with underscores."""
        return self.name.replace("-", "_")

    @property
    def variable(self) -> str:
        """The environment variable."""
        return f"ETCD_{self.key.upper()}"


def option(value_type: ValueType[T], help_text: str, default: D, default_text: str = "", letter: str = "") -> T | D:
    """
    Declares a field that an option sets; the option has the field's name, with dashes.

    @param default_text: describes the default, where no value could.
    """
    has_no_default = default is None or default == ()
    declared = Option(
        value_type.form,
        value_type.parse,
        value_type.metavar,
        help_text,
        default_text or ("none" if has_no_default else written(default)),
        has_literal_default=not (default_text or has_no_default),
        letter=letter,
    )
    field: Any = attrs.field(default=default, metadata={Option: declared})
    return field  # type: ignore[no-any-return]  # for attrs to make into an attribute


def repeated_option(value_type: ValueType[T], help_text: str, name: str = "") -> tuple[T, ...]:
    """
    Declares a field that collects the values of an option that may be given several times.

    @param name: the option's name, if it is not that of the field.
    """
    declared = Option(Form.LIST, value_type.parse, value_type.metavar, help_text, name=name)
    field: Any = attrs.field(default=(), metadata={Option: declared})
    return field  # type: ignore[no-any-return]  # for attrs to make into an attribute


def options_of(config_class: type[attrs.AttrsInstance]) -> tuple[Option, ...]:
    """Returns the options that the fields of a class declare, in their order."""
    return tuple(
        attrs.evolve(declared, name=declared.name or field.name.replace("_", "-"), field=field.name)
        for field in attrs.fields(config_class)
        if (declared := field.metadata.get(Option)) is not None
    )


def written(value: object) -> str:
    """Returns a value as one would write it for L{Option.parse}."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int) and value.bit_length() > 64:
        # It is too large for any option. Python writes thousands of digits only in hexadecimal.
        return hex(value)
    return repr(value).removesuffix(".0") if isinstance(value, float) else str(value)
