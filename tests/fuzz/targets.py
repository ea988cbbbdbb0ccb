"""
All targets of the fuzzing, by name.
"""

from tests.fuzz.doors import DOORS
from tests.fuzz.peers import PEERS
from tests.fuzz.raft import RAFT
from tests.fuzz.storage import STORAGE

TARGETS = {target.name: target for target in (DOORS, PEERS, RAFT, STORAGE)}
