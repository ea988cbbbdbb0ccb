"""
Records the answers of etcd, which has to be installed: C{python -m tests.conformance.record [TOPIC...]}.

Whoever changes a scenario records it again, and reads what has changed.
"""

import json
import shutil
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import attrs
from twisted.internet.defer import ensureDeferred, maybeDeferred
from twisted.internet.task import react

from tests.certificates import Authority
from tests.conformance.etcd2 import TOPICS, Etcd2Player, answers_file, batches
from tests.conformance.player import Scenario, Shape
from tests.etcd.machine import MISSING, start_cluster


@attrs.define
class _Scope:
    """Stands for the test that a machine belongs to."""

    directory: Path
    _made: int = 0
    _cleanups: list[tuple[Callable[..., Any], tuple[Any, ...]]] = attrs.field(factory=list)

    def mktemp(self) -> str:
        """Returns a path at which there is nothing yet."""
        self._made += 1
        return str(self.directory / str(self._made))

    def addCleanup(self, function: Callable[..., Any], *arguments: Any) -> None:
        """Has a function called at the end."""
        self._cleanups.append((function, arguments))

    async def clean_up(self) -> None:
        """Ends what was started."""
        while self._cleanups:
            function, arguments = self._cleanups.pop()
            await maybeDeferred(function, *arguments)


async def play(reactor: Any, scenarios: list[Scenario]) -> dict[str, list[Shape | None]]:
    """Returns what a new cluster of etcd answers, by the names of the scenarios."""
    scope = _Scope(Path(tempfile.mkdtemp()))
    try:
        authority = Authority(scope.mktemp()) if "tls" in scenarios[0] else None
        url = (await start_cluster(scope, scenarios[0].get("machines", 1), authority))[0].url
        return {each["name"]: await Etcd2Player(reactor, url, None, authority).play(each) for each in scenarios}
    finally:
        await scope.clean_up()
        shutil.rmtree(scope.directory)


def written(answers: dict[str, list[Shape | None]]) -> str:
    """Returns a file of answers, with one answer a line."""
    parts = []
    for name, shapes in answers.items():
        lines = ",\n".join("  " + json.dumps(shape, ensure_ascii=False) for shape in shapes)
        parts.append(f"{json.dumps(name)}: [\n{lines}\n]")
    return "{\n" + ",\n".join(parts) + "\n}\n"


async def record(reactor: Any, *topics: str) -> None:
    """Records some topics, or all."""
    if MISSING is not None:
        raise SystemExit(MISSING)
    for topic in topics or TOPICS:
        answers: dict[str, list[Shape | None]] = {}
        for together in batches(topic):
            answers |= await play(reactor, together)
        answers_file(topic).write_text(written(answers))


if __name__ == "__main__":
    react(lambda reactor, *topics: ensureDeferred(record(reactor, *topics)), sys.argv[1:])
