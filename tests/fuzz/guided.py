"""
Runs one target under atheris: C{python -m tests.fuzz.guided TARGET} and libFuzzer's arguments, in a process of its
own.

Atheris notes which lines of the program an example reaches, and goes on from those that reach new ones. Here an
example is bytes that hypothesis uses in place of random choices. A file of such bytes as the last argument is tried
alone.
"""

import sys

import atheris
from hypothesis import HealthCheck, given, settings
from twisted.logger import globalLogBeginner

with atheris.instrument_imports(include=["etcd_twisted"]):
    from tests.fuzz.target import Target
    from tests.fuzz.targets import TARGETS


def _run(target: Target) -> None:
    @settings(database=None, deadline=None, suppress_health_check=list(HealthCheck))
    @given(target.examples)
    def attempt(example: object) -> None:
        target.attempt(example)

    atheris.Setup(sys.argv, attempt.hypothesis.fuzz_one_input)
    atheris.Fuzz()


if __name__ == "__main__":
    globalLogBeginner.beginLoggingTo([], redirectStandardIO=False)
    _run(TARGETS[sys.argv.pop(1)])
