"""
The standing fuzz run: what comes from outside a machine, made up and mangled, against what holds whatever comes.

C{make fuzz} runs it (L{tests.fuzz.__main__}). Each target has examples, which are a hypothesis strategy, and a check
of one example, which raises when something is wrong. What drives them is either hypothesis itself, which makes a
failing example as small as it can be, or atheris, which looks for examples that reach new lines of the program.

Everything runs in this process without a socket, on a fake clock, so that a failure can be repeated.
"""
