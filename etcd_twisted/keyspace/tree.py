"""
Finding, putting and removing nodes in a tree.

A tree has an owner, any object. A change copies the directories on the path to the key that do not belong to it, so
that they do from then on, and changes those that do in place: most changes then copy nothing. To keep a tree as it is,
have another object own it from there on, which takes no longer for a large tree. With an owner that is used once, a
change leaves the whole tree as it was, and returns the root of another one.

A directory that is copied gets a persistent map for its children, and a mutation of that with its next change. So
where each change is followed by a look at the tree, no mutation is made in vain.

This module must never change a directory that does not belong to the owner, nor recurse: a key may have thousands of
segments.
"""

import msgspec
from immutables import Map

from etcd_twisted.errors import ErrorCode, EtcdError
from etcd_twisted.keyspace.nodes import Directory, File, Node
from etcd_twisted.keyspace.paths import ROOT
from etcd_twisted.keyspace.sizes import text_bytes, weigh


def _key(names: list[str]) -> str:
    return ROOT + "/".join(names)


class Lookup(msgspec.Struct, frozen=True, gc=False):
    """
    The path from the root to a key that a command is about. It is walked once, to see what is there and to change it.

    @ivar names: the segments of C{key}.
    @ivar directories: the directories on the path that exist, from the root on. There is at least one, and at most as
        many as there are names; C{directories[i]} holds C{names[i]}, or it is the last one and does not.
    @ivar node: the node at the key, or C{None} while nothing is there.
    """

    key: str
    names: list[str]
    directories: list[Directory]
    node: Node | None


def look_up(root: Directory, key: str) -> Lookup:
    """
    Walk to C{key}.

    @raise EtcdError: 104 with the key of a file that is on the path, or 107 for the root, which never changes.
    """
    if key == ROOT:
        raise EtcdError(ErrorCode.ROOT_READ_ONLY, ROOT)
    names = key[1:].split("/")
    directories: list[Directory] = []
    node: Node | None = root
    for name in names:
        if not isinstance(node, Directory):
            if node is None:
                break
            raise EtcdError(ErrorCode.NOT_A_DIRECTORY, _key(names[: len(directories)]))
        directories.append(node)
        node = node.entries.get(name)
    return Lookup(key, names, directories, node)


def existing(lookup: Lookup) -> Node:
    """
    Returns the node at the key.

    @raise EtcdError: 100 with the first key on the path that does not exist.
    """
    if lookup.node is None:
        raise EtcdError(ErrorCode.KEY_NOT_FOUND, _key(lookup.names[: len(lookup.directories)]))
    return lookup.node


def put(lookup: Lookup, node: Node, index: int, owner: object) -> Directory:
    """
    Put C{node} at the key, whatever was there before.

    @param index: the index at which missing directories on the path are created.
    @return: the root of the tree.
    """
    names, before = lookup.names, lookup.node
    if type(node) is type(before) is File:  # by far the most common change
        value, old_value = node.value, before.value
        if value.isascii() and old_value.isascii():  # as text_bytes counts, without the calls
            return _replace(lookup, node, owner, len(value) - len(old_value))
        return _replace(lookup, node, owner, text_bytes(value) - text_bytes(old_value))
    last = len(lookup.directories) - 1
    name = names[last]
    for depth in range(len(names) - 1, last, -1):
        children = Map({names[depth]: node})
        node = Directory(children, index, index, None, *weigh(names[depth], node))
    size, files, directories = weigh(name, node)
    if before is not None:
        lost_size, lost_files, lost_directories = weigh(name, before)
        size, files, directories = size - lost_size, files - lost_files, directories - lost_directories
    return _replace(lookup, node, owner, size, files, directories)


def remove(lookup: Lookup, owner: object) -> Directory:
    """Remove the node at the key. There has to be one. Returns the root of the tree."""
    size, files, directories = weigh(lookup.names[-1], existing(lookup))
    return _replace(lookup, None, owner, -size, -files, -directories)


def change_ttl(lookup: Lookup, node: Directory, expires: int | None, owner: object) -> Directory:
    """Change when the directory at the key, which is C{node}, expires. Returns the root of the tree."""
    if node.owner is owner:
        node.expires = expires
        return lookup.directories[0]
    return _replace(lookup, msgspec.structs.replace(node, entries=node.children, expires=expires, owner=owner), owner)


def _replace(
    lookup: Lookup, node: Node | None, owner: object, size: int = 0, files: int = 0, directories: int = 0
) -> Directory:
    """
    Put C{node} at the key, or remove what is there. The directories on the path keep their own indexes and TTLs.

    @param size: the change in size, in bytes. C{files} and C{directories} are changes in number.
    @return: the root of the tree.
    """
    path, names = lookup.directories, lookup.names
    depth = len(path) - 1
    while (here := path[depth]).owner is not owner:
        entries = here.entries
        if not isinstance(entries, Map):
            entries = here.children
        node = Directory(
            entries.delete(names[depth]) if node is None else entries.set(names[depth], node),
            here.created,
            here.modified,
            here.expires,
            here.size + size,
            here.files + files,
            here.directories + directories,
            owner,
        )
        if depth == 0:
            return node
        depth -= 1
    # This one is the owner's, and so are all above it.
    entries = here.entries
    if isinstance(entries, Map):
        entries = here.entries = entries.mutate()
    if node is None:
        del entries[names[depth]]
    else:
        entries[names[depth]] = node
    if size or files or directories:
        for here in path[: depth + 1]:
            here.size += size
            here.files += files
            here.directories += directories
    return path[0]


def opened(root: Directory, key: str, name: str, owner: object) -> list[Directory] | None:
    """
    Returns the directories from the root to C{key}, all of which belong to the owner and can be changed in place. The
    first one replaces the root. Returns C{None}, and changes nothing, if no directory is there, or if it holds another
    one by that name.

    @param key: the key without the last slash, so that the root's is empty.
    """
    path, names = [root], key.split("/")  # the first name is empty, and stands for the root
    for each in names[1:]:
        node = path[-1].entries.get(each)
        if type(node) is not Directory:
            return None
        path.append(node)
    last = path[-1]
    if type(last.entries.get(name)) is Directory:
        return None
    if last.owner is not owner or type(last.entries) is Map:  # otherwise all above are the owner's too
        for depth, there in enumerate(path):
            here = there
            if there.owner is not owner:
                here = path[depth] = msgspec.structs.replace(there, entries=there.children, owner=owner)
                if depth:
                    path[depth - 1].entries[names[depth]] = here  # type: ignore[index]  # it is a mutation
            if type(here.entries) is Map:
                here.entries = here.entries.mutate()
    return path


def find(root: Directory, key: str) -> Node:
    """
    Returns the node at C{key}.

    @raise EtcdError: 100 with the first key on the path that does not exist, or 104 with a file that is on the path.
    """
    node: Node = root
    for name in key[1:].split("/") if key != ROOT else ():
        child = node.entries.get(name) if isinstance(node, Directory) else None
        if child is None:
            return existing(look_up(root, key))  # raises the error that says what is missing or in the way
        node = child
    return node
