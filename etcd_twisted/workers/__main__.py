"""
C{python -m etcd_twisted.workers}: a worker, which only its consensus process starts.
"""

from etcd_twisted.workers.worker import main

if __name__ == "__main__":
    main()
