"""
Commands that permissions hold for, even if root runs the tests. Never changes what the tests themselves may do.
"""

import os

UNPRIVILEGED = ("setpriv", "--bounding-set=-dac_override", "--") if os.geteuid() == 0 else ()
"""The prefix that makes permissions hold for a command. Root stays the owner, since it may own the Python too."""
