"""
Load from C{wrk}, run as a child process: one thread, a number of connections, one of the scripts beside this file.

No figure is returned of a run with refused requests or broken connections: wrk counts those and ends with success.
"""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

import attrs

from benchmarks.errors import BenchmarkError

VALUE_BYTES = 64
"""The size of the values that C{put.lua} writes."""

KEYS = 1000
"""The scripts use C{/bench/k0} to C{/bench/k999}."""

TIMEOUT_SECONDS = 10
"""When a request counts as failed; with ten thousand in flight, each waits for seconds."""

WARM_SECONDS = 1
"""How long a new server is loaded before the load counts."""

_SCRIPTS = Path(__file__).resolve().parent
_MILLISECONDS = {"us": 0.001, "ms": 1.0, "s": 1000.0, "m": 60_000.0, "h": 3_600_000.0}
_TIME = r"(\d+(?:\.\d+)?)(us|ms|s|m|h)"


@attrs.frozen
class Throughput:
    """
    What one run of wrk measured.

    @ivar rate: requests per second.
    @ivar p99: the 99th percentile of the latency, in milliseconds.
    @ivar p50: the median of the latency, in milliseconds.
    @ivar requests: how many there were.
    """

    rate: float
    p99: float
    p50: float
    requests: int


def parse(output: str) -> Throughput:
    """
    Reads what C{wrk --latency} prints.

    @raise BenchmarkError: requests failed, none were answered, or a figure is missing.
    """
    for trouble in (r"Socket errors: (?!connect 0, read 0, write 0, timeout 0).*", r"Non-2xx or 3xx responses: .*"):
        found = re.search(trouble, output)
        if found:
            raise BenchmarkError(f"wrk's requests failed, so its figures mean nothing: {found[0].strip()}")
    rate = float(_find(r"^Requests/sec:\s+(\d+(?:\.\d+)?)$", output)[1])
    if rate == 0:
        raise BenchmarkError("wrk got no answer at all")
    p50, p99 = (_milliseconds(_find(rf"^\s+{percent}%\s+{_TIME} *$", output)) for percent in (50, 99))
    return Throughput(rate, p99, p50, int(_find(r"^\s+(\d+) requests in ", output)[1]))


def _find(pattern: str, output: str) -> re.Match[str]:
    found = re.search(pattern, output, re.MULTILINE)
    if found is None:
        raise BenchmarkError(f"wrk's output has no line like {pattern!r}:\n{output}")
    return found


def _milliseconds(found: re.Match[str]) -> float:
    return float(found[1]) * _MILLISECONDS[found[2]]


def executable() -> str:
    """
    Returns the path of wrk.

    @raise BenchmarkError: it is not installed.
    """
    found = shutil.which("wrk")
    if found is None:
        raise BenchmarkError("wrk makes the load and is not installed: install it with 'apt-get install wrk'")
    return found


def command(url: str, verb: str, connections: int, seconds: int) -> list[str]:
    """
    Returns wrk's arguments.

    @param verb: C{PUT}, C{GET}, C{quorum GET} or C{growth}: the script's name.
    """
    script = str(_SCRIPTS / f"{verb.lower().replace(' ', '-')}.lua")
    return [
        *(executable(), "-t1", f"-c{connections}", f"-d{seconds}s", f"--timeout={TIMEOUT_SECONDS}s"),
        *("--latency", "-s", script, url),
    ]


def begin(
    url: str, verb: str, connections: int, seconds: int, environment: Mapping[str, str] = MappingProxyType({})
) -> subprocess.Popen[str]:
    """
    Lets wrk drive a server; L{finish} has the result.

    @param environment: for the script.
    """
    return subprocess.Popen(
        command(url, verb, connections, seconds),
        env={**os.environ, **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def finish(running: subprocess.Popen[str], seconds: float) -> Throughput:
    """
    Waits for wrk's end and reads its figures; whatever happens, it does not run any more afterwards.

    @param seconds: how long it may still take.
    @raise BenchmarkError: wrk fails, or any request did.
    """
    try:
        output, errors = running.communicate(timeout=seconds)
    except subprocess.TimeoutExpired as failure:
        raise BenchmarkError(f"wrk did not end within {seconds:.0f} s of the time it was told to") from failure
    finally:
        if running.poll() is None:
            running.kill()
            running.communicate()
    if running.returncode != 0:
        raise BenchmarkError(f"wrk ended with status {running.returncode}: {errors.strip() or output.strip()}")
    return parse(output)


def run(
    url: str, verb: str, connections: int, seconds: int, environment: Mapping[str, str] = MappingProxyType({})
) -> Throughput:
    """
    Drives a server and waits for the result.

    @param environment: see L{begin}.
    @raise BenchmarkError: wrk fails, or any request did.
    """
    return finish(begin(url, verb, connections, seconds, environment), seconds + 30)


def warmed(
    url: str, verb: str, connections: int, seconds: int, environment: Mapping[str, str] = MappingProxyType({})
) -> Throughput:
    """
    Drives a new server by the same load for L{WARM_SECONDS}, which don't count, and then for those that do.

    @param environment: see L{begin}.
    @raise BenchmarkError: wrk fails, or any request did.
    """
    run(url, verb, connections, WARM_SECONDS, environment)
    result = run(url, verb, connections, seconds, environment)
    print(f"{verb}, {connections}: 99 of 100 answered within {result.p99:.2f} ms", file=sys.stderr)
    return result
