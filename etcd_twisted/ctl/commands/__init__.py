"""
The commands, and where each is: a name, its module in this package, and the object there.

A module is imported when its command runs, and for the list of all commands: it must never import Twisted, treq, rich,
the client library or anything else that takes time except within functions.
"""

SECTIONS: dict[str, dict[str, str]] = {
    "Keys": {
        "get": "reading:get",
        "ls": "reading:ls",
        "tree": "reading:tree",
        "set": "writing:set_",
        "mk": "writing:mk",
        "update": "writing:update",
        "mkdir": "writing:mkdir",
        "setdir": "writing:setdir",
        "updatedir": "writing:updatedir",
        "rm": "writing:rm",
        "rmdir": "writing:rmdir",
    },
    "Watches": {
        "watch": "watching:watch",
        "exec-watch": "watching:exec_watch",
    },
    "Locks and elections": {
        "lock": "holding:lock",
        "elect": "holding:elect",
    },
    "Cluster": {
        "health": "members:health",
        "top": "top:top",
        "member": "members:member",
        "machines": "machines:machines",
        "config": "machines:config",
        "stats": "statistics:stats",
    },
    "Users": {
        "user": "users:user",
        "role": "users:role",
        "auth": "users:auth",
    },
    "Copies": {
        "export": "exporting:export",
        "import": "importing:import_",
        "mirror": "mirroring:mirror",
    },
    "Backups": {
        "backup": "offline:backup",
        "restore": "offline:restore",
        "check": "offline:check",
    },
    "Shell": {
        "completion": "shell:completion",
    },
}
"""
The commands by what they are about, in the order in which the help shows them. A new command is a line here, and an
object of L{etcd_twisted.ctl.command.Command} or a group of these.
"""

ALIASES = {"cluster-health": "health"}
"""Other names of commands, which etcdctl has. The help does not show them."""
