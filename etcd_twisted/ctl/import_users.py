"""
Gives a cluster the roles and users of an import.

The API takes passwords and never tells them, so that a user whose password is not given gets a random one. Users and
roles are not enabled by this, and what exists already is added to. This module must never show a password.
"""

import secrets
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from etcd_twisted.ctl.export_format import RoleRecord, UserRecord

if TYPE_CHECKING:
    from etcd_twisted.client import Client

_BUILT_IN = "root"
"""The role that can't be changed."""


async def import_users(
    client: "Client", roles: Iterable[RoleRecord], users: Iterable[UserRecord], passwords: Mapping[str, str]
) -> list[str]:
    """
    Add roles and users.

    @param passwords: passwords of users, by their names.
    @return: the names of the users that were added with a random password.
    """
    there = {role.name: role for role in await client.auth.roles()}
    for role in roles:
        if role.name == _BUILT_IN:
            continue
        if role.name not in there:
            await client.auth.add_role(role.name, read=role.read, write=role.write)
            continue
        read = set(role.read) - set(there[role.name].read)
        write = set(role.write) - set(there[role.name].write)
        if read or write:
            await client.auth.grant(role.name, read=sorted(read), write=sorted(write))
    return [user.name for user in users if await _add(client, user, passwords)]


async def _add(client: "Client", user: UserRecord, passwords: Mapping[str, str]) -> bool:
    """Add a user, and return whether that was with a random password."""
    there = {each.name: set(each.roles) for each in await client.auth.users()}
    wanted = set(user.roles) - ({_BUILT_IN} if user.name == _BUILT_IN else set())
    if user.name in there:
        missing = wanted - there[user.name]
        if missing:
            await client.auth.grant_roles(user.name, sorted(missing))
        return False
    password = passwords.get(user.name)
    await client.auth.add_user(user.name, secrets.token_urlsafe(18) if password is None else password, sorted(wanted))
    return password is None
