"""
Runs the fuzzing: every target or one of them, for a number of seconds in all, from a seed; or the example that failed
before.
"""

import argparse
import sys
from pathlib import Path

from twisted.logger import globalLogBeginner

from tests.fuzz.engines import EXAMPLES, HAS_ATHERIS, again_by_atheris, by_atheris, by_hypothesis
from tests.fuzz.targets import TARGETS


def main() -> int:
    """Runs what the command line asks for, and returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz")
    parser.add_argument("--engine", choices=["atheris", "hypothesis"], help="the first one if it is installed")
    parser.add_argument("--target", choices=list(TARGETS), help="this one alone")
    parser.add_argument("--seconds", type=float, default=300.0, help="all targets together")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--examples", type=int, default=EXAMPLES, help="that hypothesis makes from one seed")
    parser.add_argument("--input", type=Path, help="a file that atheris has left of what failed")
    options = parser.parse_args()
    if options.input is not None:
        return 0 if again_by_atheris(TARGETS[options.target], options.input) else 1
    globalLogBeginner.beginLoggingTo([], redirectStandardIO=False)
    chosen = [TARGETS[options.target]] if options.target else list(TARGETS.values())
    seconds = options.seconds / len(chosen)
    engine = options.engine or ("atheris" if HAS_ATHERIS else "hypothesis")
    passed = [
        by_atheris(target, seconds, options.seed, sys.stdout)
        if engine == "atheris"
        else by_hypothesis(target, seconds, options.seed, options.examples, sys.stdout)
        for target in chosen
    ]
    return 0 if all(passed) else 1


if __name__ == "__main__":
    sys.exit(main())
