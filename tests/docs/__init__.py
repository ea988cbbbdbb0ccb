"""Tests of what the documentation says, against a real process."""
