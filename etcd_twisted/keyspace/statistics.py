"""
The store's counters (api, "Store Statistics").

The counts of commands are part of the replicated state: they agree on all machines and survive a restart. Reads and
watchers are each machine's own, and must never get into a snapshot.
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
    """Everything that C{/v2/stats/store} shows: the counts of commands, and this machine's reads and watchers."""

    gets_success: int = 0
    gets_fail: int = 0
    watchers: int = 0
