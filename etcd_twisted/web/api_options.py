"""
What of the API is configured, as the pages and the keys of the client port need it.

This module must never serve anything.
"""

import attrs

from etcd_twisted.config import Config


@attrs.frozen
class ApiOptions:
    """
    The choices between the API of etcd 0.4, which is the default, and that of etcd 2.

    @ivar hex_member_ids: whether the id of a machine is 16 hex digits, and not its name.
    @ivar ignores_zero_index: whether C{prevIndex=0} is as if it were not given.
    @ivar json_version: whether C{/version} is JSON, whatever the client accepts.
    """

    hex_member_ids: bool = False
    ignores_zero_index: bool = False
    json_version: bool = False

    @classmethod
    def of(cls, config: Config) -> "ApiOptions":
        """Returns what is configured."""
        return cls(
            hex_member_ids=config.member_ids == "hex",
            ignores_zero_index=config.zero_prev_index == "ignore",
            json_version=config.version_media_type == "json",
        )


ETCD04 = ApiOptions()
"""The API of etcd 0.4."""
