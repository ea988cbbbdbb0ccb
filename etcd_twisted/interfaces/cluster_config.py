"""
The configuration of a cluster as a whole, and which values it may have.

This module must never know how it is sent or stored.
"""

from typing import Any

import attrs
import msgspec

from etcd_twisted.errors import ErrorCode, EtcdError

MIN_ACTIVE_SIZE = 3
MAX_ACTIVE_SIZE = 2**31 - 1
"""The range of the active size (spec, section 3, "Admin")."""

MIN_REMOVE_DELAY_SECONDS = 2.0
MAX_REMOVE_DELAY_SECONDS = 2.0**31 - 1
"""The range of the delay (likewise)."""

MIN_SYNC_INTERVAL_SECONDS = 1.0
MAX_SYNC_INTERVAL_SECONDS = 86_400.0
"""
The range of the interval (likewise). The reactor's poll can't wait for more than 24 days, and nobody needs an interval
of more than a day.
"""

_MAX_SHOWN_CHARACTERS = 40


_NAMES = {"active_size": "activeSize", "remove_delay_seconds": "removeDelay", "sync_interval_seconds": "syncInterval"}
"""The names of the fields for clients, in the log and on the wire."""


class ClusterConfig(msgspec.Struct, frozen=True, rename=_NAMES):
    """
    What is configured for a whole cluster (api, "Cluster Config").

    @ivar active_size: how many machines take part in consensus; all others are standbys.
    @ivar remove_delay_seconds: after how many seconds a machine that does not answer is removed.
    @ivar sync_interval_seconds: how many seconds pass until a standby looks again whether there is a place for it.
    """

    active_size: int = 9
    remove_delay_seconds: float = 1800.0
    sync_interval_seconds: float = 5.0


@attrs.frozen
class _Field:
    """
    The values that a field of L{ClusterConfig} may have.

    @ivar name: the name of the attribute.
    @ivar whole: whether they are whole numbers.
    @ivar too_large: the error for a number above C{largest}.
    """

    name: str
    whole: bool
    least: float
    largest: float
    too_large: ErrorCode

    def problem(self, value: object) -> ErrorCode | None:
        """Returns what is wrong with a value, or C{None} if nothing is."""
        if not isinstance(value, int | float) or isinstance(value, bool):
            return ErrorCode.INVALID_FIELD
        if self.whole and value != int(value):
            return ErrorCode.INVALID_FIELD
        return None if value <= self.largest else self.too_large

    def read(self, value: float) -> float:
        """Returns the value to store: a value below the minimum is raised to it."""
        raised = max(self.least, value)
        return int(raised) if self.whole else float(raised)

    def __str__(self) -> str:
        unit = "a whole number" if self.whole else "a number of seconds"
        return f"{unit} from {self.least:g} to {self.largest:.0f}"


_FIELDS = {
    "activeSize": _Field("active_size", True, MIN_ACTIVE_SIZE, MAX_ACTIVE_SIZE, ErrorCode.INVALID_ACTIVE_SIZE),
    "removeDelay": _Field(
        "remove_delay_seconds",
        False,
        MIN_REMOVE_DELAY_SECONDS,
        MAX_REMOVE_DELAY_SECONDS,
        ErrorCode.STANDBY_REMOVE_DELAY,
    ),
    "syncInterval": _Field(
        "sync_interval_seconds", False, MIN_SYNC_INTERVAL_SECONDS, MAX_SYNC_INTERVAL_SECONDS, ErrorCode.INVALID_FIELD
    ),
}


MAX_CONFIG_BYTES = 1 << 16
"""How long the JSON of a configuration may be. Decoded, arbitrary JSON may take twenty times as much memory."""

_decode_object = msgspec.json.Decoder(dict[str, Any]).decode


def read_config(text: str | bytes, base: ClusterConfig) -> ClusterConfig:
    """
    Returns the configuration in a JSON text. A number below the minimum of its field is raised to it, as the reference
    does.

    @param base: the configuration from which to take the fields that are not in the text.
    @raise EtcdError: 210 if this is not a JSON object, or far too long. Otherwise it names each bad field and what it
        should be: 209 for a field that is unknown or has the wrong type and for an interval that is too large, 403 for
        an active size and 404 for a delay that is too large.
    """
    if len(text) > MAX_CONFIG_BYTES:
        cause = f"the configuration should be a JSON object of at most {MAX_CONFIG_BYTES} bytes, not {len(text)}"
        raise EtcdError(ErrorCode.INVALID_FORM, cause)
    try:
        given = _decode_object(text)
    except (ValueError, RecursionError) as error:
        raise EtcdError(ErrorCode.INVALID_FORM, f"the configuration should be a JSON object: {error}") from None
    problems: list[tuple[ErrorCode, str]] = []
    values: dict[str, float] = {}
    for name, value in given.items():
        field = _FIELDS.get(name)
        if field is None:
            problems.append(
                (ErrorCode.INVALID_FIELD, f"{name[:_MAX_SHOWN_CHARACTERS]} is none of {', '.join(_FIELDS)}")
            )
        elif (problem := field.problem(value)) is not None:
            problems.append((problem, f"{name} should be {field}"))
        else:
            values[field.name] = field.read(value)
    if problems:
        raise EtcdError(problems[0][0], "; ".join(text for _, text in problems[: len(_FIELDS)]))
    return msgspec.structs.replace(base, **values)


def config_json(config: ClusterConfig) -> str:
    """Returns a configuration as it is stored and shown: as JSON, with whole numbers without a fraction."""
    fields = {name: getattr(config, name) for name in ClusterConfig.__struct_fields__}
    whole = {name: int(value) if value == int(value) else value for name, value in fields.items()}
    return msgspec.json.encode(ClusterConfig(**whole)).decode()
