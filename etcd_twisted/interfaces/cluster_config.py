"""
What is set for a cluster as a whole, and what it may be.

Must never know how it is asked or stored.
"""

from typing import Any

import attrs
import msgspec

from etcd_twisted.errors import ErrorCode, EtcdError

LEAST_ACTIVE_SIZE = 3
LARGEST_ACTIVE_SIZE = 2**31 - 1
"""What the active size may be (spec, section 3, "Admin")."""

LEAST_REMOVE_DELAY = 2.0
LONGEST_REMOVE_DELAY = 2.0**31 - 1
"""What the delay may be, in seconds (likewise)."""

LEAST_SYNC_INTERVAL = 1.0
LONGEST_SYNC_INTERVAL = 86_400.0
"""
What the interval may be, in seconds (likewise). The reactor's poll takes a wait of at most 24 days; nobody means one
of more than a day.
"""

_LONGEST_SHOWN = 40


class ClusterConfig(msgspec.Struct, frozen=True, rename="camel"):
    """
    What is the same for a whole cluster (api, "Cluster Config").

    @ivar active_size: how many machines take part in consensus; the others are standbys.
    @ivar remove_delay: after how many seconds without a word from it a machine is removed.
    @ivar sync_interval: how often a standby looks whether there is a place for it, in seconds.
    """

    active_size: int = 9
    remove_delay: float = 1800.0
    sync_interval: float = 5.0


@attrs.frozen
class _Field:
    """
    What a field of a L{ClusterConfig} may be.

    @ivar name: as an attribute.
    @ivar too_large: the error when it is a number above C{largest}.
    """

    name: str
    whole: bool
    least: float
    largest: float
    too_large: ErrorCode

    def problem(self, value: object) -> ErrorCode | None:
        """What is wrong with a value; C{None} if nothing is."""
        if not isinstance(value, int | float) or isinstance(value, bool):
            return ErrorCode.INVALID_FIELD
        if self.whole and value != int(value):
            return ErrorCode.INVALID_FIELD
        return None if value <= self.largest else self.too_large

    def read(self, value: float) -> float:
        """Returns the value that is kept: one below the minimum is raised to it."""
        raised = max(self.least, value)
        return int(raised) if self.whole else float(raised)

    def __str__(self) -> str:
        unit = "a whole number" if self.whole else "a number of seconds"
        return f"{unit} from {self.least:g} to {self.largest:.0f}"


_FIELDS = {
    "activeSize": _Field(
        "active_size", True, LEAST_ACTIVE_SIZE, LARGEST_ACTIVE_SIZE, ErrorCode.INVALID_ACTIVE_SIZE
    ),
    "removeDelay": _Field(
        "remove_delay", False, LEAST_REMOVE_DELAY, LONGEST_REMOVE_DELAY, ErrorCode.STANDBY_REMOVE_DELAY
    ),
    "syncInterval": _Field(
        "sync_interval", False, LEAST_SYNC_INTERVAL, LONGEST_SYNC_INTERVAL, ErrorCode.INVALID_FIELD
    ),
}


LONGEST_CONFIG_BYTES = 1 << 16
"""How long what is set may be in JSON; decoded, other JSON takes twenty times its length in memory."""

_decode_object = msgspec.json.Decoder(dict[str, Any]).decode


def read_config(text: str | bytes, base: ClusterConfig) -> ClusterConfig:
    """
    Read what somebody wants to be set. A number below a field's minimum is raised to it, as the reference does.

    @param text: JSON.
    @param base: what it is where the text does not say.
    @raise EtcdError: 210 when this is no JSON object, or far too long; else with each field that can't be used and
        what it should be: 209 for one that is unknown, of another type or an interval that is too large, 403 for an
        active size and 404 for a delay that is too large.
    """
    if len(text) > LONGEST_CONFIG_BYTES:
        cause = f"the configuration should be a JSON object of at most {LONGEST_CONFIG_BYTES} bytes, not {len(text)}"
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
            problems.append((ErrorCode.INVALID_FIELD, f"{name[:_LONGEST_SHOWN]} is none of {', '.join(_FIELDS)}"))
        elif (problem := field.problem(value)) is not None:
            problems.append((problem, f"{name} should be {field}"))
        else:
            values[field.name] = field.read(value)
    if problems:
        raise EtcdError(problems[0][0], "; ".join(text for _, text in problems[: len(_FIELDS)]))
    return msgspec.structs.replace(base, **values)


def written(config: ClusterConfig) -> str:
    """As it is kept and shown: JSON, whole numbers without a fraction."""
    fields = {name: getattr(config, name) for name in ClusterConfig.__struct_fields__}
    whole = {name: int(value) if value == int(value) else value for name, value in fields.items()}
    return msgspec.json.encode(ClusterConfig(**whole)).decode()
