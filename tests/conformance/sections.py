"""
Which sections of the specification each recorded scenario shows: those of its page about the API, by their titles, and
the additional parts of its section 1.
"""

SECTIONS = {
    "Setting the value of a key": "set-get set-empty-value set-value-in-query set-unicode set-urlencoded-key",
    "Response Headers": "set-get head get-missing",
    "Get the value of a key": "set-get get-missing",
    "Changing the value of a key": "set-get",
    "Deleting a key": "set-get file-delete-flags delete-missing",
    "Using key TTL": "ttl ttl-expires ttl-bad ttl-on-cas ttl-replaced-by-set",
    "Waiting for a change": (
        "watch watch-only-its-key watch-recursive watch-dir-not-recursive watch-index watch-index-skips-others"
        " watch-future-index watch-recursive-index watch-bad-index watch-delete watch-cas watch-cad"
        " watch-parent-deleted watch-expire watch-hidden watch-hidden-directly watch-in-order watch-mkdir"
    ),
    "Atomically Creating In-Order Keys": "in-order in-order-dir in-order-on-file dir-sorted",
    "Using a directory TTL": "ttl-dir ttl-dir-expires",
    "Atomic Compare-and-Swap": (
        "cas-value cas-index cas-both cas-missing cas-dir cas-bad-params cas-exist-and-value cas-params-in-form create"
        " update"
    ),
    "Atomic Compare-and-Delete": "cad cad-index cad-bad-params",
    "Creating Directories": "dir-create set-deep-path",
    "Listing a directory": "dir-list dir-empty-list",
    "Deleting a Directory": "dir-delete dir-delete-nonempty",
    "Creating a hidden node": "hidden",
    "Setting a key from a file": "set-newlines-and-controls",
    "Read from the Master": "consistent-get",
    "Read Linearization": "quorum-get",
    "Acquiring a Lock": "lock-errors lock-value lock-queue lock-timeout lock-expires",
    "Renewing a Lock": "lock-errors lock-value",
    "Releasing a Lock": "lock-errors lock-value lock-queue",
    "Retrieving a Lock": "lock-errors lock-value lock-queue lock-timeout lock-expires",
    "Setting the Leader": "leader-module",
    "Retrieving the Current Leader": "leader-module",
    "Relinquishing Leadership": "leader-module",
    "Keys": "slashes-and-dots set-root set-urlencoded-key hidden not-found-paths",
    "Answers": "set-get",
    "Parameters": "set-value-in-query params-case bad-escapes cas-params-in-form",
    "PUT": (
        "set-over-directory set-dir-over-file set-through-file set-deep-path dir-create create update update-dir"
        " cas-both cas-missing cas-dir cas-bad-params cas-exist-and-value ttl-replaced-by-set"
    ),
    "POST": "in-order in-order-dir in-order-on-file set-through-file",
    "DELETE": "file-delete-flags delete-missing dir-delete dir-delete-nonempty cad cad-bad-params",
    "GET": "dir-list dir-sorted hidden head get-missing",
    "TTL": "ttl-bad ttl-dir-expires",
    "Watch": "watch-bad-index watch-future-index watch-hidden watch-parent-deleted watch-index",
    "Errors": "methods not-found-paths stats-store get-missing",
}


def sections_of(scenario: str) -> list[str]:
    """Returns the titles of the sections that a scenario shows, given its name."""
    return [title for title, scenarios in SECTIONS.items() if scenario in scenarios.split()]
