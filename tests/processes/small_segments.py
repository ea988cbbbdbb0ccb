"""
Runs C{twistd} unchanged, but with segments of the log so small that many are begun and deleted in a few seconds.

It is run as C{python -m tests.processes.small_segments BYTES} with the arguments of C{twistd}.
"""

import functools
import sys

from twisted.scripts.twistd import run

from etcd_twisted.consensus.storage.storage import Storage

if __name__ == "__main__":
    small = functools.partial(Storage.open, segment_bytes=int(sys.argv.pop(1)))
    Storage.open = staticmethod(small)  # type: ignore[method-assign]
    run()
