"""
What C{txetcdctl mirror} is made of: a directory of one cluster is kept as a copy in another one.

Rule 1. The copy is changed as the source was, change by change, in order, one at a time.
Rule 2. Each change can be made again without harm, and overcomes what is in its way. So after a restart the mirror
        goes on at a position that it has saved a little earlier, and what was in between is done twice.
Rule 3. Where the source's history does not reach back to the position, the copy is compared with the source, and made
        the same.
Rule 4. A copy is begun only where there is nothing, unless that may be overwritten; and it goes on only with the
        cluster that it was begun with.

This package must never write to the source.
"""
