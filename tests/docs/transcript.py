"""
The commands that a page of the documentation tells its reader to type, and the answers that it shows.

Blocks of C{sh} hold commands, one a line; a block of C{json} right behind one is what its last command prints. Blocks
of C{console} hold commands behind a C{$}, each with its output below it. A line that ends with a backslash goes on in
the next one. A block of another language that begins with a comment of only a file's name is the content of that file.

The comparison of answers ignores what differs from one run to the next: times, durations, what is left of a TTL,
rates, latencies and counts of Raft's requests, its indexes and terms, counts of reads (which may be repeated here),
process ids, and ids of machines. JSON is compared as such, so that a page may lay it out. A C{...} stands for anything
within a line, or within a text of JSON; on a line of its own it stands for any lines. Must never run anything.
"""

import json
import re
from pathlib import Path
from typing import Any

import attrs

_BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_COMMENT = re.compile(r"(^|\s+)# .*$")
_FILE_NAME = re.compile(r"# ([\w.-]+\.\w+)\n")
_PROMPT = "$ "

_MASKS = [
    (re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:?\d\d)"), "TIME"),
    (re.compile(r'"(\d+h)?(\d+m)?\d+(\.\d+)?(s|ms|µs)"'), '"DURATION"'),
    (re.compile(r"(?m)^(X-Raft-(?:Index|Term)): \d+"), r"\1: N"),
    (re.compile(r"(?m)^Date: .*"), "Date: TIME"),
    (re.compile(r'("gets(?:Success|Fail)": ?)\d+'), r"\g<1>0"),
    (re.compile(r'("ttl": ?)\d+'), r"\g<1>0"),
    (re.compile(r'("\w+(?:Rate|RequestCnt)": ?)\d+(\.\d+)?'), r"\g<1>0"),
    (re.compile(r'("(?:current|average|standardDeviation|minimum|maximum|fail|success)": ?)[\d.e-]+'), r"\g<1>0"),
    (re.compile(r"\bprocess \d+"), "process N"),
    (re.compile(r'"[0-9a-f]{14,16}"'), '"ID"'),
    (re.compile(r"\bin \d+\.\d s\b"), "in N s"),
    (re.compile(r"\b(id|cluster)( +)[0-9a-f]{16}\b"), r"\1\2ID"),
    (re.compile(r"(?m)^X-Etcd-Cluster-Id: [0-9a-f]{16}(\r?)$"), r"X-Etcd-Cluster-Id: ID\1"),
]


@attrs.frozen
class File:
    """A file that the reader has."""

    name: str
    content: str


@attrs.frozen
class Step:
    """
    One command.

    @ivar answer: what it prints; C{None} where the page does not say.
    """

    command: str
    answer: str | None = None


def steps(text: str) -> list[Step | File]:
    """Returns all that a page tells its reader to type, in order."""
    found: list[Step | File] = []
    end, language = -1, ""
    for block in _BLOCK.finditer(text):
        if block[1] == "json" and language == "sh" and not text[end : block.start()].strip():
            found.append(attrs.evolve(found.pop(), answer=block[2]))
        elif block[1] == "sh":
            found += [Step(command) for command in _commands(block[2])]
        elif block[1] == "console":
            found += _session(block[2])
        elif (name := _FILE_NAME.match(block[2])) is not None:
            found.append(File(name[1], block[2]))
        end, language = block.end(), block[1]
    return found


def steps_of(page: Path) -> list[Step | File]:
    """See L{steps}."""
    return steps(page.read_text())


def _commands(block: str) -> list[str]:
    """Yields commands without the comments behind them."""
    lines = (_COMMENT.sub("", line).strip() for line in block.replace("\\\n", " ").splitlines())
    return [line for line in lines if line]


def _session(block: str) -> list[Step]:
    found: list[Step] = []
    for line in block.replace("\\\n", " ").splitlines(keepends=True):
        if line.startswith(_PROMPT):
            found.append(Step(line.removeprefix(_PROMPT).strip(), ""))
        elif found:
            found[-1] = Step(found[-1].command, f"{found[-1].answer}{line}")
        else:
            raise ValueError(f"{line!r} is printed by no command")
    return found


def agrees(shown: str, printed: str) -> bool:
    """Tells whether a command printed what a page shows."""
    shown, printed = _masked(shown), _masked(printed)
    wanted, got = _decoded(shown), _decoded(printed)
    if wanted is not None and got is not None:
        return _same(wanted, got)
    return _pattern(shown).fullmatch(printed) is not None


def _masked(text: str) -> str:
    text = "\n".join(line.rstrip() for line in text.strip().splitlines())
    for pattern, replacement in _MASKS:
        text = pattern.sub(replacement, text)
    return text


def _decoded(text: str) -> Any:
    """Returns a text decoded from JSON, or C{None} if it is not JSON."""
    try:
        return json.loads(text)
    except ValueError:
        return None


def _same(wanted: Any, got: Any) -> bool:
    if isinstance(wanted, dict) and isinstance(got, dict):
        return wanted.keys() == got.keys() and all(_same(each, got[name]) for name, each in wanted.items())
    if isinstance(wanted, list) and isinstance(got, list):
        return len(wanted) == len(got) and all(map(_same, wanted, got))
    if isinstance(wanted, str) and isinstance(got, str):
        return _pattern(wanted).fullmatch(got) is not None
    return type(wanted) is type(got) and bool(wanted == got)


def _pattern(shown: str) -> re.Pattern[str]:
    lines = [r"(?:.*\n)*?" if line == "..." else f"{_line(line)}\n" for line in shown.split("\n")]
    text = "".join(lines)
    return re.compile(text.removesuffix("\n") if text.endswith("\n") else f"{text}.*")


def _line(shown: str) -> str:
    return ".*".join(map(re.escape, shown.split("...")))
