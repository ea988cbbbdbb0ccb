"""
Durations as the reference writes them: like Go's C{time.Duration.String}.

Must never round: clients read these back.
"""

_MICROSECONDS = {"h": 3_600_000_000, "m": 60_000_000, "s": 1_000_000}


def go_duration(microseconds: int) -> str:
    """
    A duration as text, as in C{1m18.544996s}; below a second in the largest unit that fits, as in C{1.5ms}.

    @param microseconds: not negative.
    """
    if microseconds == 0:
        return "0s"
    if microseconds < 1_000:
        return f"{microseconds}µs"
    if microseconds < _MICROSECONDS["s"]:
        return f"{_decimal(microseconds, 1_000)}ms"
    hours, rest = divmod(microseconds, _MICROSECONDS["h"])
    minutes, rest = divmod(rest, _MICROSECONDS["m"])
    text = f"{_decimal(rest, _MICROSECONDS['s'])}s"
    if hours or minutes:
        text = f"{minutes}m{text}"
    return f"{hours}h{text}" if hours else text


def _decimal(number: int, unit: int) -> str:
    whole, part = divmod(number, unit)
    if not part:
        return str(whole)
    digits = len(str(unit)) - 1
    return f"{whole}.{part:0{digits}}".rstrip("0")
