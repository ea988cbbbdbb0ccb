"""
How members are shown, whatever records there are of them.
"""

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from etcd_twisted.interfaces.cluster import Machine
from etcd_twisted.interfaces.member_records import MemberRecord, shown_members

_NUMBERS = st.integers(0, 5)
_URLS = _NUMBERS.map(lambda number: f"http://peers:{number}")


@st.composite
def _records(draw: st.DrawFn) -> list[MemberRecord]:
    """Records as leaders keep them: at most one of each machine, and one awaited machine at each place."""
    records: list[MemberRecord] = []
    for number in range(draw(_NUMBERS)):
        record = MemberRecord(f"{number:016x}", draw(_URLS), draw(st.sampled_from(["", "f0", "f1", "f2"])))
        if record.awaited and any(each.awaited and each.peer_url == record.peer_url for each in records):
            continue
        if record.fingerprint and any(each.fingerprint == record.fingerprint for each in records):
            record = MemberRecord(record.id, removed=True)
        records.append(record)
    return records


class ShownTests(SynchronousTestCase):
    """The members have the fingerprints f0, f1 and so on, and peer URLs that differ."""

    def members(self, urls: list[str]) -> dict[str, Machine]:
        return {
            f"f{number}": Machine(f"m{number}", f"http://clients:{number}", url) for number, url in enumerate(urls)
        }

    @given(st.lists(_URLS, unique=True, max_size=4), _records())
    def test_each_member_is_shown_once(self, urls: list[str], records: list[MemberRecord]) -> None:
        """So is each awaited machine that no member is in the place of. Removed members are not."""
        members = self.members(urls)
        shown = shown_members(members, records)
        self.assertCountEqual([each for each in shown.values() if each.name], members.values())
        awaited = {each.id: each.peer_url for each in records if each.awaited and each.peer_url not in urls}
        self.assertEqual({each: machine.peer_url for each, machine in shown.items() if not machine.name}, awaited)
        self.assertTrue(shown.keys().isdisjoint(each.id for each in records if each.removed))

    def test_member_is_shown_by_its_id_until_the_group_is_without_it(self) -> None:
        """If it was added again, it has the id that it got then."""
        members = self.members(["http://peers:0"])
        left = MemberRecord("a" * 16, "", "f0", removed=True)
        self.assertEqual(list(shown_members(members, [left])), ["a" * 16])
        for again in (MemberRecord("b" * 16, "http://peers:0"), MemberRecord("b" * 16, "http://peers:0", "f0")):
            for records in ([left, again], [again, left]):
                self.assertEqual(list(shown_members(members, records)), ["b" * 16])
        self.assertEqual(shown_members({}, [left]), {})

    @given(st.lists(_URLS, unique=True, max_size=4), _records())
    def test_member_has_the_id_of_its_record(self, urls: list[str], records: list[MemberRecord]) -> None:
        shown = shown_members(self.members(urls), records)
        for record in records:
            name = f"m{record.fingerprint.removeprefix('f')}"
            if record.fingerprint and int(record.fingerprint[1:]) < len(urls):
                self.assertEqual(shown[record.id].name, name)
