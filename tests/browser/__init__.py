"""
Tests of the dashboard in a real browser: Chromium, driven with keys and clicks as by a person.
"""
