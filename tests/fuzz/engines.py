"""
The engines that try the examples of a target: hypothesis, in batches that can be repeated, or atheris, where it is
installed.

Hypothesis generates whole examples from the beginning, and shrinks the one that fails, which suits a short run.
Atheris begins with next to nothing and finds its way, which suits hours.
"""

import importlib.util
import subprocess
import sys
import time
import traceback
from pathlib import Path
from typing import Any, TextIO

from hypothesis import HealthCheck, Phase, given, seed, settings

from tests.fuzz.target import Target

EXAMPLES = 200
"""How many examples a batch has. Large examples come late in a batch, and small batches take less time to repeat."""

LONGEST_EXAMPLE = 1 << 13
"""From how many bytes atheris makes an example."""

HAS_ATHERIS = importlib.util.find_spec("atheris") is not None

_CORPUS = Path(".fuzz")
"""Where atheris keeps the bytes that reached something new, and those that failed."""


def by_hypothesis(target: Target, seconds: float, first: int, examples: int, out: TextIO, shrink: bool = True) -> bool:
    """
    Tries batch after batch until the time is over or one fails, and at least one.

    @param first: the seed of the first batch; each further one has the next seed.
    @param examples: how many examples a batch has.
    @param shrink: whether to look for the smallest example that fails.
    @return: whether all examples passed. If not, C{out} says what failed and how to repeat it.
    """
    began = time.monotonic()
    number = first
    while number == first or time.monotonic() - began < seconds:
        try:
            _batch(target, number, examples, shrink)
        except Exception:
            out.write(f"{target.name}: FAILED\n{traceback.format_exc()}\n")
            how = f"FUZZ_SEED={number} FUZZ_EXAMPLES={examples} FUZZ_SECONDS=0"
            out.write(f"again: make fuzz FUZZ_ENGINE=hypothesis FUZZ_TARGET={target.name} {how}\n")
            return False
        number += 1
    count, taken = (number - first) * examples, time.monotonic() - began
    out.write(f"{target.name}: {count:,} examples, of seeds {first} to {number - 1}, in {taken:.0f} s: all passed\n")
    out.flush()
    return True


def _batch(target: Target, number: int, examples: int, shrink: bool) -> None:
    """
    Tries that many examples, which are always the same for the same seed.

    @raise Exception: an example fails; it is in the notes.
    """

    @seed(number)
    @settings(
        max_examples=examples,
        database=None,
        deadline=None,
        phases=(Phase.generate, Phase.shrink) if shrink else (Phase.generate,),
        suppress_health_check=list(HealthCheck),
        report_multiple_bugs=False,
    )
    @given(target.examples)
    def attempt(example: Any) -> None:
        target.attempt(example)

    attempt()


def by_atheris(target: Target, seconds: float, first: int, out: TextIO) -> bool:
    """
    Tries examples until the time is over or one fails, beginning with those that reached something new in earlier
    runs.

    @param first: the seed.
    @return: whether all examples passed. If not, C{out} says what failed and how to repeat it.
    """
    corpus, failures = _CORPUS / target.name, _CORPUS / f"{target.name}-failures"
    for directory in (corpus, failures):
        directory.mkdir(parents=True, exist_ok=True)
    before = set(failures.iterdir())
    status = _guided(
        target.name,
        *(f"-max_total_time={max(1, round(seconds))}", f"-seed={first + 1}", f"-max_len={LONGEST_EXAMPLE}"),
        # The target watches its own time.
        *("-len_control=0", "-timeout=0", "-verbosity=0", f"-artifact_prefix={failures}/"),
        str(corpus),
    )
    if status == 0:
        count = len(list(corpus.iterdir()))
        out.write(f"{target.name}: {seconds:.0f} s, {count} examples that reach something of their own: all passed\n")
        out.flush()
        return True
    out.write(f"{target.name}: FAILED\n")
    for failed in set(failures.iterdir()) - before:
        out.write(f"again: make fuzz FUZZ_TARGET={target.name} FUZZ_INPUT={failed}\n")
    return False


def again_by_atheris(target: Target, failed: Path) -> bool:
    """Tries the one example of a file, and returns whether it passes."""
    return _guided(target.name, "-timeout=0", str(failed)) == 0


def _guided(*arguments: str) -> int:
    """Runs L{tests.fuzz.guided}, and returns its exit status."""
    command = [sys.executable, "-m", "tests.fuzz.guided", *arguments]
    return subprocess.run(command, check=False).returncode
