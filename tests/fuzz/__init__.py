"""
The standing fuzz run: feeds generated and mangled input from outside to a machine, and checks what must hold for any
input.

C{make fuzz} runs it (L{tests.fuzz.__main__}). Each target has examples, which are a hypothesis strategy, and a check
of one example, which raises when something is wrong. The targets are driven either by hypothesis itself, which makes a
failing example as small as it can be, or by atheris, which looks for examples that reach new lines of the program.

Everything runs in this process without a socket, on a fake clock, so that a failure can be repeated.
"""
