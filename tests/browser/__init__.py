"""The dashboard in a real browser: Chromium, driven as a person would, by keys and clicks."""
