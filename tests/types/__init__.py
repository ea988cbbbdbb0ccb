"""Tests that need the type checker, which is a large program: see C{make test-large}."""
