"""Tests with clients that other people wrote, against a real process."""
