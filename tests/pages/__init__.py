"""The commands of all pages, typed by L{tests.docs.terminal}: see C{make test-large}."""
