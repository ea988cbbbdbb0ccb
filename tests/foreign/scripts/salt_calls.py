"""
Calls functions of Salt as its minion does: salt_calls.py CONFIG CALLS. Prints JSON of what they return.

The calls are JSON: a list of lists of a function, its arguments, and its named arguments. This is a script of the
environment in which Salt is.
"""

import json
import sys

import salt.client
import salt.config

if __name__ == "__main__":
    caller = salt.client.Caller(mopts=salt.config.minion_config(sys.argv[1]))
    told = [caller.cmd(function, *arguments, **named) for function, arguments, named in json.loads(sys.argv[2])]
    json.dump(told, sys.stdout)
