"""
Commands for which permissions hold, whoever runs the tests. Never changes what the tests themselves may do.
"""

import os

UNPRIVILEGED = ("setpriv", "--bounding-set=-dac_override", "--") if os.geteuid() == 0 else ()
"""What to put before a command so that permissions hold for it. Root stays the owner, as it may own the Python too."""
