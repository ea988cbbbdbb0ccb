"""
The store's counters (api, "Store Statistics").

What a command counts is part of the replicated state, so that it agrees on all machines and survives a restart;
reads and watchers are each machine's own, and must never get into a snapshot.
"""

import msgspec


class CommandCounts(msgspec.Struct, rename="camel"):
    """How often each command succeeded and failed, and how many keys expired."""

    sets_success: int = 0
    sets_fail: int = 0
    delete_success: int = 0
    delete_fail: int = 0
    create_success: int = 0
    create_fail: int = 0
    update_success: int = 0
    update_fail: int = 0
    compare_and_swap_success: int = 0
    compare_and_swap_fail: int = 0
    compare_and_delete_success: int = 0
    compare_and_delete_fail: int = 0
    expire_count: int = 0


class StoreStatistics(CommandCounts, rename="camel"):
    """All of C{/v2/stats/store}: the commands' counts, and this machine's reads and watchers."""

    gets_success: int = 0
    gets_fail: int = 0
    watchers: int = 0
