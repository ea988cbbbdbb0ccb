"""
The hypothesis strategies of states: they use few names and keys, so that patterns often match.
"""

from hypothesis import strategies as st

from etcd_twisted.auth.state import AuthState, Role, User
from tests.keyspace.strategies import keys

names = st.sampled_from(["root", "guest", "alice", "bob", "", 'ключ"\\'])
_OWN = [
    "/_etcd",
    "/_etcd/_auth",
    "/_etcd/machines/m",
    "/_etcd/mod/lock/a",
    "/_etcd/registry/t",
    "/_etcdx",
    "/_etcd/modx",
]
all_keys = st.one_of(keys, st.sampled_from(["/", *_OWN]))
patterns = st.one_of(
    st.sampled_from(["/*", "*", "", "/_etcd/*", "/_etcd/mod*", "/_etcd/registry/*"]),
    all_keys,
    all_keys.map(lambda key: key + "*"),
    all_keys.map(lambda key: key + "/*"),
)
lists = st.none() | st.lists(patterns, max_size=4).map(tuple)
roles = st.builds(Role, name=names, read=lists, write=lists)
users = st.builds(
    lambda name, password_hash, held: User(name, password_hash, tuple(sorted(held))),
    name=names,
    password_hash=st.text(max_size=8),
    held=st.frozensets(names, max_size=4),
)
states = st.builds(
    lambda enabled, users, roles: AuthState(
        enabled, {each.name: each for each in users}, {each.name: each for each in roles}
    ),
    enabled=st.booleans(),
    users=st.lists(users, max_size=4),
    roles=st.lists(roles, max_size=4),
)
