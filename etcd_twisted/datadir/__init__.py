"""
Data directories of machines that do not run: etcd's are read, and this program's are made, checked and backed up.

Everything in here blocks and serves nobody: it is for commands. It must never change a directory that it reads, nor
leave a half-made one under the name of a whole one.
"""
