"""
The dashboard: a page for people. It consists of the files in C{page/}, which a browser runs as they are.

This package must never load anything from elsewhere, nor need a build step.
"""
