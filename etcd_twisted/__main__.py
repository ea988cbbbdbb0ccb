"""
C{etcd-twisted}, and C{python -m etcd_twisted}: one machine as a command in the foreground, see
L{etcd_twisted.foreground}.

A process that is told to stop ends with status 0, from its first moments on. This module must never import anything
that takes its time before that is so: as the first process of a container, one without a handler is not ended by
SIGTERM at all, and Control-C would print a traceback.
"""

import gc
import os
import signal


def _end(_signal: int, _frame: object) -> None:
    """End the process at once: nobody was served yet, so nothing has to be finished."""
    os._exit(0)


def main() -> None:
    """Run a machine, see L{etcd_twisted.foreground.run}."""
    signal.signal(signal.SIGTERM, _end)
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:  # a shell ignores it for jobs in the background
        signal.signal(signal.SIGINT, _end)
    # What a start imports stays, and passes over it take a twentieth of the start. From when the machine is made,
    # L{tap} has the collector run by the clock.
    gc.disable()
    from etcd_twisted.foreground import run  # noqa: PLC0415 - see the module

    run()


if __name__ == "__main__":
    main()
