"""
CRC-32C, the checksum in etcd's files: C{zlib} has only the other CRC-32, and a table in Python takes 20 s for 64 MB.
"""

from typing import cast

import google_crc32c


def crc32c(data: bytes, before: int = 0) -> int:
    """
    Returns a checksum.

    @param before: the checksum of the data before this.
    """
    return cast(int, google_crc32c.extend(before, data))
