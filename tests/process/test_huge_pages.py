"""
Tests of L{etcd_twisted.process.huge_pages}.
"""

import errno
import mmap
import re
from pathlib import Path

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from etcd_twisted.process.huge_pages import CHECK_INTERVAL_SECONDS, LEAST_BYTES, HugePages, advise, heap

MEGABYTE = 1 << 20

SMALL = """\
55d0c0000000-55d0c0a00000 rw-p 00000000 00:00 0                          [heap]
7f0000000000-7f0000800000 rw-p 00000000 00:00 0 
7f1000000000-7f1010000000 r--p 00000000 fe:00 1234                       /usr/lib/locale/locale-archive
7f2000000000-7f2010000000 ---p 00000000 00:00 0 
7f3000000000-7f3010000000 rw-s 00000000 00:00 0 
7f4000000000-7f4010000000 rw-p 00000000 fe:00 1235                       /data/file
7ffc00000000-7ffc10000000 rw-p 00000000 00:00 0                          [stack]
"""  # noqa: W291 - the kernel writes a space there

LARGE = "7f5000100000-7f5004100000 rw-p 00000000 00:00 0 \n"


class HeapTests(SynchronousTestCase):
    """The large mappings of the heap are found, and nothing else."""

    def test_small_and_shared_mappings_files_and_stacks_are_none(self) -> None:
        self.assertEqual(list(heap(SMALL)), [])

    def test_a_large_one_is_cut_to_whole_huge_pages(self) -> None:
        self.assertEqual(list(heap(SMALL + LARGE)), [(0x7F5000200000, 62 * MEGABYTE)])

    def test_a_large_heap_of_the_c_library_counts(self) -> None:
        self.assertEqual(
            list(heap("55d0c0000000-55d0c4000000 rw-p 00000000 00:00 0                          [heap]\n")),
            [(0x55D0C0000000, 64 * MEGABYTE)],
        )


class KernelTests(SynchronousTestCase):
    """The kernel is really asked."""

    if not Path("/sys/kernel/mm/transparent_hugepage").exists():
        skip = "the kernel has no transparent huge pages"

    def test_this_process_gets_them(self) -> None:
        """The kernel notes C{hg} for the mapping."""
        with mmap.mmap(-1, 2 * LEAST_BYTES, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS) as mapped:
            mapped[0] = 1
            pages = HugePages(Clock())
            pages.ask()
            flags = re.findall(r"^VmFlags:.* hg\b", Path("/proc/self/smaps").read_text(), re.MULTILINE)
        self.assertNotEqual(flags, [])

    def test_what_is_not_mapped_is_refused(self) -> None:
        with self.assertRaises(OSError):
            advise(LEAST_BYTES + 1, LEAST_BYTES)


class AskingTests(SynchronousTestCase):
    """The heap is looked at again and again."""

    def setUp(self) -> None:
        self.maps = Path(self.mktemp())
        self.maps.write_text(SMALL)
        self.asked: list[tuple[int, int]] = []
        self.clock = Clock()
        self.pages = HugePages(self.clock, self.maps, lambda *where: self.asked.append(where))

    def test_each_mapping_is_asked_for_once(self) -> None:
        self.pages.start()
        self.clock.advance(CHECK_INTERVAL_SECONDS)
        self.assertEqual(self.asked, [])
        self.maps.write_text(SMALL + LARGE)
        for _ in range(3):
            self.clock.advance(CHECK_INTERVAL_SECONDS)
        self.assertEqual(self.asked, [(0x7F5000200000, 62 * MEGABYTE)])
        self.pages.stop()
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_a_mapping_of_which_a_part_is_freed_meanwhile_is_asked_for_again(self) -> None:
        """This is no reason to ask for nothing more."""
        refusals = [OSError(errno.ENOMEM, "Cannot allocate memory")]

        def advise(address: int, length: int) -> None:
            if refusals:
                raise refusals.pop()
            self.asked.append((address, length))

        self.pages = HugePages(self.clock, self.maps, advise)
        self.maps.write_text(SMALL + LARGE)
        self.pages.start()
        self.clock.advance(CHECK_INTERVAL_SECONDS)
        self.assertEqual(self.asked, [])
        self.clock.advance(CHECK_INTERVAL_SECONDS)
        self.assertEqual(self.asked, [(0x7F5000200000, 62 * MEGABYTE)])
        self.pages.stop()

    def test_a_kernel_without_them_is_asked_no_more(self) -> None:
        def advise(_address: int, _length: int) -> None:
            raise OSError(errno.EINVAL, "Invalid argument")

        self.maps.write_text(SMALL + LARGE)
        HugePages(self.clock, self.maps, advise).start()
        self.clock.advance(CHECK_INTERVAL_SECONDS)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_a_system_without_them_is_asked_no_more(self) -> None:
        self.maps.unlink()
        self.pages.start()
        self.clock.advance(CHECK_INTERVAL_SECONDS)
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.pages.stop()
