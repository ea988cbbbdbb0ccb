"""
Where C{make} installs the programs that other people wrote: an environment of their own, since they want other
versions of what this project uses.
"""

from tests.processes.child import SOURCE

BIN = SOURCE / ".venv-foreign" / "bin"


def missing(program: str) -> str | None:
    """Returns why a test is skipped, or None if a program is there."""
    return None if (BIN / program).exists() else f"{program} is not installed (make .venv-foreign/installed)"
