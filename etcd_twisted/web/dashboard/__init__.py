"""
The dashboard: a page for people, made of the files in C{page/}, which a browser runs as they are.

Must never load anything from elsewhere, nor need a step between the files and the browser.
"""
