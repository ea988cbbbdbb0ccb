"""
What a machine needs of Twisted's reactor.

This module must never hold any code: only a name for what reactors promise.
"""

from twisted.internet.interfaces import IReactorTCP, IReactorThreads, IReactorTime


class IReactor(IReactorTime, IReactorTCP, IReactorThreads):
    """
    What a machine needs of Twisted's reactor. It is for type checks only: a reactor provides each of the three
    interfaces, but does not know this one.
    """
