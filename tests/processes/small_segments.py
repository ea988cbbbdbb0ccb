"""
C{twistd} as it is, but for segments of the log so small that many are begun and deleted in a few seconds.

To be run as C{python -m tests.processes.small_segments BYTES} and what C{twistd} takes.
"""

import functools
import sys

from twisted.scripts.twistd import run

from etcd_twisted.consensus import recovery

if __name__ == "__main__":
    recovery.WriteAheadLog = functools.partial(recovery.WriteAheadLog, segment_bytes=int(sys.argv.pop(1)))
    run()
