"""
C{python -m etcd_twisted.workers}: a worker, which only its consensus process starts.
"""

from etcd_twisted.process.parent import end_with_parent

if __name__ == "__main__":
    end_with_parent()  # before all that takes time
    from etcd_twisted.workers.worker import main

    main()
