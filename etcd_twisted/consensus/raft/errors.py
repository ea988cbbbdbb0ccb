"""
What the Raft core refuses.
"""


class NotLeaderError(Exception):
    """This machine does not lead. Only a leader takes reads and, while it is not handing over, proposals."""

    def __init__(self) -> None:
        super().__init__("this machine does not lead")


class ConfigurationError(Exception):
    """The group can't be changed in this way, or not now; the text says why."""
