"""
Long runs under failures: watches and writes of clients while leaders die, and locks and queues while their holders do.

`make test` leaves them out; `make kill-campaign` and `make watch-campaign` run them, for as long as one likes.
"""
