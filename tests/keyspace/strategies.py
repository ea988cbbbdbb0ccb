"""
The hypothesis strategies of commands: they use few names, so that commands affect each other's keys.
"""

from typing import Any

from hypothesis import strategies as st

from etcd_twisted.keyspace import commands

HALF_A_SECOND = 500_000

_FAMILIAR = [
    "/a",
    "/a/b",
    "/a/b/b",
    "/a/_h",
    "/a/_h/b",
    "/_",
    "/b",
    "/b/1",
    "/b/07",
    "/b/10",
    "/b/ключ",
    "/b/ключ/☃",
    "/a/b/c/d/e/f/g/h",
]
names = st.sampled_from(["a", "b", "_h", "1", "9", "20"])
keys = st.one_of(
    st.sampled_from(_FAMILIAR),
    st.sampled_from(["/a", "/a/b", "/b", "/b/1", "/_"]),
    st.lists(names, max_size=3).map(lambda segments: "/" + "/".join(segments)),
)
values = st.sampled_from(["x", "y", "", 'значение\n"\\'])
times = st.integers(0, 30).map(lambda halves: halves * HALF_A_SECOND)
ends = st.integers(0, 40).map(lambda halves: halves * HALF_A_SECOND + 1)
expiries = st.none() | ends
indexes = st.just(0) | st.integers(0, 20)


def _made(command: type[Any]) -> st.SearchStrategy[Any]:
    return st.builds(command, key=keys, time=times, value=values, directory=st.booleans(), expires=expiries)


sets = _made(commands.Set)
changes: st.SearchStrategy[commands.Change] = st.one_of(
    sets,
    _made(commands.Create),
    _made(commands.CreateInOrder),
    _made(commands.Update),
    st.builds(commands.Refresh, key=keys, time=times, expires=ends),
    st.builds(commands.SetTtl, key=keys, time=times, expires=ends),
    _made(commands.SetOrSwap),
    st.builds(
        commands.CompareAndSwap,
        key=keys,
        time=times,
        value=st.none() | values,
        expires=expiries,
        previous_value=st.none() | values,
        previous_index=indexes,
    ),
    st.builds(commands.Delete, key=keys, time=times, directory=st.booleans(), recursive=st.booleans()),
    st.builds(
        commands.CompareAndDelete,
        key=keys,
        time=times,
        previous_value=st.none() | values,
        previous_index=indexes,
    ),
)
expirations = st.builds(commands.Expire, time=times, limit=st.sampled_from([0, 1, 2, 1_000]))
paddings = st.builds(commands.PadInOrderKeys, time=times)
anything: st.SearchStrategy[commands.Command] = st.one_of(sets, changes, expirations, paddings)
_POPULATION = [
    commands.Set("/a/b", 0, "x"),
    commands.Set("/a/_h/b", 0, "y", expires=6 * HALF_A_SECOND + 1),
    commands.Set("/b", 0, directory=True, expires=12 * HALF_A_SECOND + 1),
    commands.Set("/b/1", 0, "x", expires=9 * HALF_A_SECOND + 1),
    commands.Set("/_", 0, "x"),
]
histories = st.lists(anything, min_size=10, max_size=40).map(lambda some: _POPULATION + some)
"""Commands for an empty key space, which first put a few nodes of each kind into it."""

plain_sets: st.SearchStrategy[commands.Command] = st.builds(commands.Set, key=keys, time=times, value=values)
"""The command that is carried out in one go with others like it."""
